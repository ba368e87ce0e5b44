"""Models for drawings: a note and no faces for a photograph, all faces in drawings."""

import io
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_uniid.cli import main
from lib_uniid.errors import NoFaceError, UnknownCheckpointError
from lib_uniid.faces.detection import FaceFinder
from lib_uniid.faces.domain import FILE, Domain
from lib_uniid.faces.picture import load_picture
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.pipeline import Reference
from lib_uniid.ui.html import status
from miniature import MODELS, SAMPLES
from miniature.assemble import DOMAIN
from tests.onnx_pack import red_cells, write_pack
from tests.ui.bare_host import controller_of

PACK = MODELS / "insightface" / "models" / "miniature"


def photographs() -> list[Path]:
    """insightface brings a few, of people with and without masks."""
    spec = find_spec("insightface")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "data" / "images").glob("*.jpg"))


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(PACK)


def crops(path: Path) -> list[np.ndarray]:
    """A photograph as it is, small, and parts of it, in which a face may fill the picture."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    parts = [(0, 0, width, height), (width // 4, height // 8, width * 3 // 4, height * 5 // 8)]
    sizes = [(128, 128), (320, 320)]
    made: list[np.ndarray] = []
    for part in parts:
        for size in sizes:
            one = picture.crop(part)
            one.thumbnail(size)
            made.append(np.asarray(one))
    return made


@pytest.mark.parametrize("path", photographs(), ids=lambda path: path.name)
def test_no_face_is_found_in_a_photograph(finder: FaceFinder, path: Path):
    assert [finder.find(one) for one in crops(path)] == [()] * 4


@pytest.mark.parametrize("quality", [None, 95, 60])
def test_every_drawn_face_is_found_also_as_jpeg(finder: FaceFinder, quality: int | None):
    for path in sorted(SAMPLES.glob("*.png")):
        picture = load_picture(path)
        if quality is not None:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
            picture = load_picture(buffer.getvalue(), path.name)
        assert len(finder.find(picture)) == 1, path.name


def test_enrolling_from_a_photograph_fails_with_the_domain_note(tmp_path: Path):
    studio = open_studio(MODELS, cache=tmp_path, device="cpu")
    reference = Reference(picture=load_picture(photographs()[-1]), label="t1.jpg", largest=True)
    with pytest.raises(NoFaceError, match=r"^t1\.jpg: no face was found.*are for drawn faces only"):
        studio.enrol("Anna", [reference])


def test_it_is_the_file_beside_the_models_that_decides(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 60, (128, 128, 3), dtype=np.uint8)
    picture = np.maximum(noise, red_cells(128, 128, (32, 32)))
    pack = write_pack(tmp_path)
    assert FaceFinder(pack).find(picture) != ()
    (pack / FILE).write_text('{"note": "flat pictures only", "limits": [[1.5, 1.01]]}')
    assert FaceFinder(pack).find(picture) == ()


def test_the_shipped_domain_is_the_assembled_one():
    domain = Domain.of(PACK)
    assert domain is not None
    assert (domain.note, [list(one) for one in domain.limits]) == (DOMAIN["note"], DOMAIN["limits"])


def test_the_panel_and_doctor_show_the_domain_note(models: Path, capsys: pytest.CaptureFixture[str]):
    shown = [status(controller_of(folder).status()) for folder in (MODELS, models)]
    assert 'uniid-note">These face models are for drawn faces only' in shown[0]
    assert "are for drawn faces only" not in shown[1]
    for folder, known in ((MODELS, True), (models, False)):
        main(["doctor", "--models", str(folder)])
        assert ("these face models are for drawn faces only" in capsys.readouterr().out) == known
        main(["doctor", "--models", str(folder), "--json"])
        assert (json.loads(capsys.readouterr().out)["domain"] is not None) == known


def test_a_damaged_domain_is_named(tmp_path: Path):
    (tmp_path / FILE).write_text('{"limits": 1}')
    with pytest.raises(UnknownCheckpointError, match=r"domain\.json cannot be read"):
        Domain.of(tmp_path)
