"""Tests of UniID's files: the published layouts, what is refused and why, and loading."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_uniid.checkpoints.download import fetch
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.formats import formats
from lib_uniid.checkpoints.header import Header
from lib_uniid.checkpoints.loading import check, load
from lib_uniid.checkpoints.sources import source
from lib_uniid.errors import (
    CheckpointMismatchError,
    DownloadError,
    MissingModelError,
    UniIDError,
    UnknownCheckpointError,
)
from lib_uniid.methods.uniid.formats.adapter_branch import ADAPTER_BRANCH
from lib_uniid.methods.uniid.formats.recogniser import RECOGNISER
from lib_uniid.methods.uniid.formats.router import ROUTER
from lib_uniid.methods.uniid.formats.text_branch import TEXT_BRANCH
from lib_uniid.methods.uniid.loading import load_encoder, load_weights
from tests.checkpoints.builders import faceid, write
from tests.methods.uniid.builders import (
    FILES,
    Shapes,
    adapter_branch,
    bare,
    official,
    router,
    text_branch,
)
from tests.onnx_pack import write_pack

FORMATS = [RECOGNISER, TEXT_BRANCH, ADAPTER_BRANCH]
ALL = [*FORMATS, ROUTER]
each = pytest.mark.parametrize("expected", FORMATS, ids=[one.name for one in FORMATS])


def header(shapes: Shapes) -> Header:
    return Header(path=Path("some.bin"), container="torch", shapes=shapes)


def without_prefix(shapes: Shapes, expected: Format) -> Shapes:
    return {name.removeprefix(expected.prefix): shape for name, shape in shapes.items()}


# --- layouts ---


@pytest.mark.golden
@each
def test_the_published_layout_is_the_format_s_own_with_and_without_its_prefix(expected: Format):
    published = official(expected.name)
    for shapes in (published, without_prefix(published, expected)):
        assert [one for one in formats() if one.matches(header(shapes))] == [expected]
        expected.check(header(shapes))
    assert (
        expected.layout(without_prefix(published, expected)).keys()
        == without_prefix(published, expected).keys()
    )


@pytest.mark.golden
def test_sizes_of_the_published_files_are_read_off_them():
    text, adapter, backbone = (
        one.check(header(official(one.name))) for one in (TEXT_BRANCH, ADAPTER_BRANCH, RECOGNISER)
    )
    sizes = {
        "tokens": 3,
        "width1": 768,
        "width2": 1280,
        "inner2": 1280,
        "mult": 4,
        "tap": 512,
        "hidden": 1024,
    }
    assert sizes.items() <= text.items()
    sizes = {
        "tokens": 25,
        "dim": 768,
        "shallow": 448,
        "tap": 512,
        "context": 2048,
        "width640": 640,
        "width1280": 1280,
    }
    assert sizes.items() <= adapter.items()
    assert {"embedding": 512, "positions": 49, "width4": 512}.items() <= backbone.items()


@each
def test_every_missing_tensor_is_named_without_the_prefix(expected: Format):
    shapes = official(expected.name)
    required = [
        name
        for name in shapes
        if name.removeprefix(expected.prefix) not in expected.marks and not expected.optional.fullmatch(name)
    ]
    for name in sorted(required)[::41]:
        with pytest.raises(CheckpointMismatchError) as raised:
            expected.check(header({key: shape for key, shape in shapes.items() if key != name}))
        assert name.removeprefix(expected.prefix) in raised.value.missing | raised.value.unexpected


@each
def test_every_misshapen_tensor_is_named(expected: Format):
    shapes = official(expected.name)
    for name in sorted(name for name, shape in shapes.items() if len(shape) > 1)[::41]:
        with pytest.raises(CheckpointMismatchError) as raised:
            expected.check(header({**shapes, name: (7, *shapes[name][1:])}))
        assert raised.value.misshapen == {name.removeprefix(expected.prefix)}


def test_counters_of_batch_norms_may_be_missing():
    shapes = {name: shape for name, shape in official("iresnet100").items() if "num_batches" not in name}
    assert len(shapes) < 925
    RECOGNISER.check(header(shapes))


# --- what is refused ---


def ip_adapter() -> dict[str, dict[str, Tensor]]:
    return {"image_proj": {"norm.bias": torch.zeros(8)}, "ip_adapter": {"1.to_k_ip.weight": torch.ones(8, 8)}}


@pytest.mark.parametrize(
    ("expected", "content", "reason"),
    [
        (
            TEXT_BRANCH,
            adapter_branch,
            "UniID text branch: it seems to be a UniID adapter branch; get text_br",
        ),
        (
            ADAPTER_BRANCH,
            text_branch,
            "UniID adapter branch: it seems to be a UniID text branch; get adapter",
        ),
        (RECOGNISER, text_branch, "ArcFace R100 recogniser: it seems to be a UniID text branch"),
        (ADAPTER_BRANCH, faceid, "it seems to be a UniPortrait faceid file; get adapter_branch_checkpoints"),
        (
            ADAPTER_BRANCH,
            ip_adapter,
            "it seems to be an IP-Adapter; get adapter_branch_checkpoints",
        ),
        (
            ADAPTER_BRANCH,
            lambda: {"adapter_branch.adapter_modules.1.to_k_ip.weight": torch.ones(8, 8)},
            "it seems to be part of a UniID adapter branch",
        ),
    ],
)
def test_a_file_of_another_type_is_named(tmp_path: Path, expected: Format, content: object, reason: str):
    path = write(tmp_path / "a.bin", content() if callable(content) else content)
    with pytest.raises(CheckpointMismatchError, match=r"^a\.bin is not .*") as raised:
        check(path, expected)
    assert reason in str(raised.value)


def test_an_onnx_recogniser_is_refused_as_backbone(tmp_path: Path):
    path = write_pack(tmp_path) / "w600k_r50.onnx"
    with pytest.raises(CheckpointMismatchError, match=r"ONNX .* no ArcFace R100 .* buffalo_l and antelo"):
        check(path, RECOGNISER)
    with pytest.raises(MissingModelError, match=r"no iresnet100 model .*/backbone\.pth"):
        load_encoder(ModelFolder(tmp_path, also=()))


def test_a_backbone_of_another_depth_is_refused():
    deeper = {
        name.replace("layer4.2.", "layer4.3."): shape
        for name, shape in official("iresnet100").items()
        if name.startswith("layer4.2.")
    }
    with pytest.raises(CheckpointMismatchError, match=r"3, 13, 30, 4 blocks, .* R100 have 3, 13, 30, 3"):
        RECOGNISER.check(header({**official("iresnet100"), **deeper}))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_an_unfinished_download_is_refused(tmp_path: Path, name: str, kind: str):
    path = tmp_path / f"a.{kind}"
    write(path, FILES[name]()) if kind == "bin" else save_file(FILES[name](), path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    expected = next(one for one in ALL if one.name == name)
    with pytest.raises(UnknownCheckpointError, match=rf"a\.{kind} .*download it again"):
        check(path, expected)


def test_branches_of_different_releases_are_refused(tmp_path: Path):
    other = {name: tensor for name, tensor in adapter_branch().items()}
    name = "adapter_branch.adapter_resampler.proj_face_recog_model_layers.1.weight"
    other[name] = other[name][:, :8].contiguous()
    files = write(tmp_path / "t.bin", text_branch()), write(tmp_path / "a.bin", other)
    with pytest.raises(
        CheckpointMismatchError, match=r"a\.bin does not belong to t\.bin: its width of the last .* 8"
    ):
        load_weights(*files)


# --- loading ---


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_both_branches_load_under_their_modules_names(tmp_path: Path, prefixed: bool, kind: str):
    def written(name: str) -> Path:
        state = FILES[name]() if prefixed else bare(FILES[name]())
        path = tmp_path / name / f"pytorch_model.{kind}"
        path.parent.mkdir()
        write(path, state) if kind == "bin" else save_file(state, path)
        return path

    text, adapter = written("text_branch"), written("adapter_branch")
    (text.parent / "config.json").write_text("{")  # not read
    weights = load_weights(text, adapter)
    assert weights.text is not None
    assert weights.adapter is not None
    assert_same(weights.text.state_dict(), bare(text_branch()))
    expected = bare(adapter_branch())
    assert list(weights.projections) == [*range(1, 140, 2)]
    for site, pair in weights.projections.items():
        assert torch.equal(pair.to_k, expected.pop(f"adapter_modules.{site}.to_k_ip.weight"))
        assert torch.equal(pair.to_v, expected.pop(f"adapter_modules.{site}.to_v_ip.weight"))
    assert_same(weights.adapter.state_dict(), expected)


def assert_same(some: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert some.keys() == others.keys()
    assert all(torch.equal(tensor, others[name]) for name, tensor in some.items())


def test_one_branch_is_enough(tmp_path: Path):
    text, adapter = write(tmp_path / "t.bin", text_branch()), write(tmp_path / "a.bin", adapter_branch())
    alone = load_weights(text, None)
    assert (alone.text is None, alone.adapter is None, alone.projections) == (False, True, {})
    alone = load_weights(None, adapter)
    assert (alone.text is None, alone.adapter is None, len(alone.projections)) == (True, False, 70)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_mapped_file_holds_the_same_values(tmp_path: Path, legacy: bool):
    path = write(tmp_path / "a.bin", text_branch(), _use_new_zipfile_serialization=not legacy)
    state = load(check(path, TEXT_BRANCH), mapped=True)
    assert_same(state, bare(text_branch()))


def test_the_router_loads_one_set_of_layers_for_each_transformer(tmp_path: Path):
    path = tmp_path / "some.safetensors"
    save_file(router(), path)
    routers = load_weights(None, None, path).router
    assert routers is not None
    assert [int(name) for name in routers] == [1, 5, 9, 29, 49, 69, 89, 109, 113, 117, 121]
    assert_same({f"router_modules.{name}": x for name, x in routers.state_dict().items()}, router())


def test_a_router_with_other_layers_is_refused(tmp_path: Path):
    state = router()
    lacking = {name: tensor for name, tensor in state.items() if ".121." not in name}
    with pytest.raises(CheckpointMismatchError, match=r"a\.bin is not a whole UniID router.* train it again"):
        check(write(tmp_path / "a.bin", lacking), ROUTER)
    name = "router_modules.29.to_k_router.2.weight"
    with pytest.raises(CheckpointMismatchError) as raised:
        check(write(tmp_path / "b.bin", {**state, name: state[name][:5].clone()}), ROUTER)
    assert raised.value.misshapen == {name}
    part = {name: tensor for name, tensor in state.items() if ".1." not in name}
    with pytest.raises(CheckpointMismatchError, match="it seems to be part of a UniID router file"):
        check(write(tmp_path / "c.bin", part), ROUTER)


def test_a_router_for_other_tokens_is_refused(tmp_path: Path):
    state = router()
    for name in [one for one in state if one.endswith("aggr_router.weight")]:
        state[name] = state[name][:, :4].clone()
    files = write(tmp_path / "a.bin", adapter_branch()), write(tmp_path / "r.bin", state)
    with pytest.raises(
        CheckpointMismatchError, match=r"r\.bin does not belong to a\.bin: its number of tokens .* 4, not 5"
    ):
        load_weights(None, *files)


def test_the_router_is_optional_and_not_published(tmp_path: Path):
    row = source("uniid_router")
    assert not row.needed
    assert not row.limits
    assert row.to_get(tmp_path).endswith(
        f"uniid-router_sdxl.safetensors (not published, made by training) into {tmp_path / 'uniid'}"
    )
    with pytest.raises(DownloadError, match="uniid_router is not published; train it"):
        fetch(row, tmp_path)


def test_the_files_are_found_by_content_under_any_name(tmp_path: Path):
    for number, name in enumerate(FILES):
        write(tmp_path / str(number) / "x.bin", FILES[name]())
    folder = ModelFolder(tmp_path, also=())
    assert {name: folder.find(name).parent.name for name in FILES} == {
        "iresnet100": "0",
        "text_branch": "1",
        "adapter_branch": "2",
        "uniid_router": "3",
    }


def test_licences_are_those_of_the_publishers():
    assert source("text_branch").licence == source("adapter_branch").licence == "MIT"
    assert "non-commercial" in source("iresnet100").licence


@pytest.mark.parametrize("name", ["text_branch", "iresnet100"])
def test_a_tensor_that_is_not_finite_is_refused(tmp_path: Path, name: str):
    state = FILES[name]()
    broken = next(one for one in state if one.endswith("weight"))
    state[broken].view(-1)[0] = float("nan")
    expected = next(one for one in ALL if one.name == name)
    with pytest.raises(UniIDError, match=re.escape(broken)):
        load(check(write(tmp_path / "a.bin", state), expected), mapped=True)
