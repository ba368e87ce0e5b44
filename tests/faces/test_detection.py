"""Tests of face detection, through the real insightface on a pack with known answers."""

import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from lib_uniid.errors import ConfigError, MissingModelError, UnknownCheckpointError
from lib_uniid.faces.detection import FaceFinder
from tests.onnx_pack import CELL, LANDMARKS, red_cells, write_pack

SIZE = 320


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("models") / "buffalo_l")


@pytest.fixture(scope="module")
def finder(pack: Path) -> FaceFinder:
    return FaceFinder(pack, SIZE)


def test_faces_are_numbered_from_left_to_right(finder: FaceFinder):
    corners = [(224, 32), (32, 128), (128, 256)]
    faces = finder.find(red_cells(SIZE, SIZE, *corners))
    assert [face.number for face in faces] == [1, 2, 3]
    assert [face.box for face in faces] == [(x, y, x + CELL, y + CELL) for x, y in sorted(corners)]


def test_numbers_do_not_depend_on_scores(finder: FaceFinder):
    picture = red_cells(SIZE, SIZE, (32, 32), (128, 32))
    picture[32:40, 32:64, 0] = 100  # the left face scores lower
    left, right = finder.find(picture)
    assert left.score < right.score
    assert left.box[0] < right.box[0]


def test_landmarks_are_in_pixels_of_the_picture(finder: FaceFinder):
    (face,) = finder.find(red_cells(SIZE, SIZE, (64, 96)))
    np.testing.assert_allclose(face.landmarks, np.array([64, 96]) + CELL * LANDMARKS, atol=1e-3)


def test_the_channels_reach_the_detector_in_its_order(finder: FaceFinder):
    blue = red_cells(SIZE, SIZE, (64, 96))[..., ::-1]
    assert finder.find(np.ascontiguousarray(blue)) == ()


def test_a_picture_of_another_size_is_fitted_into_the_square(finder: FaceFinder):
    (face,) = finder.find(red_cells(2 * SIZE, SIZE, (64, 128), cell=2 * CELL))
    np.testing.assert_allclose(face.box, (64, 128, 64 + 2 * CELL, 128 + 2 * CELL), atol=1e-3)


def test_a_face_found_only_with_a_margin_is_given_in_the_picture_s_own_pixels(finder: FaceFinder):
    # Stripes that fill no more than half of any cell of the picture, and more of one that the margin shifts.
    picture = np.zeros((640, 400, 3), dtype=np.uint8)
    picture[64:192, 56:95, 0] = picture[64:192, 128:159, 0] = 255
    (face,) = finder.find(picture)
    np.testing.assert_allclose(face.box, (56, 64, 184, 192), atol=1e-3)
    np.testing.assert_allclose(face.landmarks, (56, 64) + 128 * LANDMARKS, atol=1e-2)


def test_a_usual_picture_is_searched_once(finder: FaceFinder, monkeypatch: pytest.MonkeyPatch):
    looks: list[tuple[int, ...]] = []
    detect = finder._detector.detect  # pyright: ignore[reportPrivateUsage]

    def counted(picture: np.ndarray) -> object:
        looks.append(picture.shape)
        return detect(picture)

    monkeypatch.setattr(finder, "_detector", SimpleNamespace(detect=counted))
    assert finder.find(red_cells(SIZE, SIZE, (64, 96)))
    assert looks == [(SIZE, SIZE, 3)]
    assert not finder.find(red_cells(SIZE, SIZE))
    assert len(looks) == 3


def test_a_small_face_in_a_large_photograph_is_found_in_its_part(finder: FaceFinder):
    picture = red_cells(1500, 2000, (900, 700), cell=100)
    assert any(face.contains((950.0, 750.0)) for face in finder.find(picture))


def test_boxes_end_at_the_picture_and_landmarks_need_not(finder: FaceFinder):
    (face,) = finder.find(red_cells(310, SIZE, (64, 288)))
    assert face.box == (64, 288, 96, 310)
    np.testing.assert_allclose(face.landmarks[4], (64, 288) + CELL * LANDMARKS[4], atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (5, 3)])
def test_a_tiny_or_thin_picture_has_no_faces(finder: FaceFinder, shape: tuple[int, int]):
    assert finder.find(np.zeros((*shape, 3), dtype=np.uint8)) == ()


def test_embeddings_are_made_on_demand_from_the_aligned_face(pack: Path):
    (face,) = FaceFinder(pack, SIZE, recognise=True).find(red_cells(SIZE, SIZE, (64, 96)))
    assert face.embedding is not None
    assert np.linalg.norm(face.embedding) == pytest.approx(1.0)
    assert face.embedding[0] > face.embedding[1] == pytest.approx(face.embedding[2])  # RGB: red first


def test_embeddings_are_computed_only_on_request(finder: FaceFinder):
    (face,) = finder.find(red_cells(SIZE, SIZE, (64, 96)))
    assert face.embedding is None


def test_a_detector_alone_is_pack_enough_for_finding(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", recogniser=False)
    assert FaceFinder(pack, SIZE).find(red_cells(SIZE, SIZE, (64, 96)))
    with pytest.raises(MissingModelError, match="recogniser"):
        FaceFinder(pack, SIZE, recognise=True)


def test_nothing_is_printed(pack: Path, capfd: pytest.CaptureFixture[str]):
    FaceFinder(pack, SIZE).find(red_cells(SIZE, SIZE, (64, 96)))
    assert capfd.readouterr() == ("", "")


def test_a_missing_pack_is_named_and_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def connect(*_: object) -> None:
        raise AssertionError("went to the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    (tmp_path / "empty").mkdir()
    for pack in (tmp_path / "buffalo_l", tmp_path / "empty"):
        with pytest.raises(MissingModelError, match=r"det_10g\.onnx") as raised:
            FaceFinder(pack)
        assert str(pack) in str(raised.value)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "empty"]


def test_the_message_for_a_pack_without_a_detector_names_it(tmp_path: Path):
    with pytest.raises(MissingModelError, match="no face detector"):
        FaceFinder(write_pack(tmp_path / "pack", detector=False))


def test_a_damaged_pack_is_named(tmp_path: Path):
    pack = write_pack(tmp_path / "pack")
    file = pack / "det_10g.onnx"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UnknownCheckpointError, match="download"):
        FaceFinder(pack)


def spoiled(file: Path, name: str, value: float, *, raw: bool = True) -> None:
    """Write a value into one of the file's weights, as its bytes or as a list of numbers."""
    model = onnx.load(file)
    (tensor,) = (one for one in model.graph.initializer if one.name == name)
    numbers = onnx.numpy_helper.to_array(tensor).copy()
    numbers.flat[-1] = value
    tensor.CopyFrom(
        onnx.numpy_helper.from_array(numbers, name)
        if raw
        else onnx.helper.make_tensor(name, tensor.data_type, numbers.shape, numbers.ravel().tolist())
    )
    onnx.save(model, file)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("raw", [True, False])
def test_a_pack_whose_weights_are_no_numbers_is_refused_with_the_file_and_the_weights(
    tmp_path: Path, value: float, raw: bool
):
    spoiled(write_pack(tmp_path) / "det_10g.onnx", "kernel16", value, raw=raw)
    with pytest.raises(UnknownCheckpointError, match=r"det_10g\.onnx is damaged: kernel16 holds"):
        FaceFinder(tmp_path)


def test_a_recogniser_that_gives_no_numbers_is_named(tmp_path: Path):
    file = write_pack(tmp_path) / "w600k_r50.onnx"
    model = onnx.load(file)
    model.graph.node[-1].output[0] = "flat"
    model.graph.node.append(onnx.helper.make_node("Log", ["flat"], ["683"]))  # of -1 for black
    onnx.save(model, file)
    finder = FaceFinder(tmp_path, SIZE, recognise=True)
    with pytest.raises(UnknownCheckpointError, match=r"w600k_r50\.onnx returns values that are NaN"):
        finder.find(red_cells(SIZE, SIZE, (64, 96)))


@pytest.mark.parametrize("det_size", [0, -32, 100])
def test_a_size_that_the_strides_do_not_divide_is_refused(tmp_path: Path, det_size: int):
    with pytest.raises(ConfigError, match="multiple of 32"):
        FaceFinder(tmp_path, det_size)


@pytest.mark.parametrize("name", ["[models]", "mo*dels", "models?"])
def test_a_pack_is_loaded_from_a_folder_of_any_name(tmp_path: Path, name: str):
    finder = FaceFinder(write_pack(tmp_path / name / "pack"), recognise=True)
    assert finder.find(np.zeros((64, 64, 3), np.uint8)) == ()
