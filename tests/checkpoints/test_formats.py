"""Tests of the file formats: official layouts fit exactly, narrower ones fit themselves, others are named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_uniid.checkpoints import loading, reading
from lib_uniid.checkpoints.families import identify
from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.formats import detect, formats
from lib_uniid.checkpoints.header import Header, read_header
from lib_uniid.checkpoints.loading import check, load, load_groups, read_config
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError
from lib_uniid.methods.uniportrait.formats.clip_vision import CLIP_VISION
from lib_uniid.methods.uniportrait.formats.curricularface import CURRICULARFACE
from lib_uniid.methods.uniportrait.formats.faceid import FACEID as UNIPORTRAIT_FACEID
from lib_uniid.methods.uniportrait.formats.router import ROUTER as UNIPORTRAIT_ROUTER
from lib_uniid.methods.uniportrait.loading import load_weights
from tests import recorded
from tests.checkpoints.builders import faceid, official_shapes, router, write
from tests.encoders.builders import backbone_state, transformers_clip

Shapes = dict[str, tuple[int, ...]]


def header(shapes: Shapes) -> Header:
    return Header(path=Path("some.bin"), container="torch", shapes=shapes)


def grouped(**groups: str) -> Shapes:
    return {f"{group}.{name}": s for group, key in groups.items() for name, s in official_shapes(key).items()}


def clip_shapes() -> Shapes:
    return {name: tuple(shape) for name, shape in recorded.notes("clip_tiny_keys").items()}


def recogniser_shapes() -> Shapes:
    keys = recorded.notes("curricularface_ir101_keys")["keys"]
    return {name: tuple(shape) for name, (shape, _) in keys.items()}


FACEID = grouped(faceid_proj="faceid_file.faceid_proj", faceid_adapter="faceid_file.faceid_adapter(expected)")
ROUTER = grouped(faceid_adapter="router_file.faceid_adapter(expected,used)")
OFFICIAL = [
    (UNIPORTRAIT_FACEID, FACEID),
    (UNIPORTRAIT_ROUTER, ROUTER),
    (CURRICULARFACE, recogniser_shapes()),
    (CLIP_VISION, clip_shapes()),
]
official = pytest.mark.parametrize(("expected", "shapes"), OFFICIAL, ids=[row[0].name for row in OFFICIAL])


# --- the official layouts ---


@pytest.mark.golden
@official
def test_the_official_layout_is_the_format_s_own(expected: Format, shapes: Shapes):
    assert detect(header(shapes)) is expected
    expected.check(header(shapes))
    assert expected.layout(shapes).keys() == shapes.keys()


@pytest.mark.golden
def test_sizes_of_the_official_file_are_read_off_it():
    sizes = UNIPORTRAIT_FACEID.check(header(FACEID))
    wanted = {
        "intrinsic": 512,
        "structure": 1728,
        "tokens": 16,
        "dim": 768,
        "inner": 768,
        "mult": 4,
        "rank": 128,
    }
    assert wanted.items() <= sizes.items()
    assert (sizes["context"], sizes["width0"], sizes["width15"]) == (768, 320, 1280)


@official
def test_every_missing_tensor_is_named(expected: Format, shapes: Shapes):
    for name in sorted(shapes.keys() - expected.marks)[::37]:
        with pytest.raises(CheckpointMismatchError) as raised:
            expected.check(header({key: shape for key, shape in shapes.items() if key != name}))
        assert name in raised.value.missing | raised.value.unexpected


@official
def test_every_misshapen_tensor_is_named(expected: Format, shapes: Shapes):
    for name in sorted(name for name, shape in shapes.items() if len(shape) > 1)[::37]:
        with pytest.raises(CheckpointMismatchError) as raised:
            expected.check(header({**shapes, name: (7, *shapes[name][1:])}))
        assert name in raised.value.misshapen
        assert name in str(raised.value)


@official
def test_a_tensor_of_another_rank_is_named(expected: Format, shapes: Shapes):
    name = sorted(shapes)[0]
    with pytest.raises(CheckpointMismatchError) as raised:
        expected.check(header({**shapes, name: (2, 2, 2, 2, 2)}))
    assert raised.value.misshapen == {name}


@official
def test_an_unknown_tensor_is_named(expected: Format, shapes: Shapes):
    extra = f"{expected.groups[0]}.0.lora.extra" if expected.groups else "extra"
    with pytest.raises(CheckpointMismatchError, match="unknown") as raised:
        expected.check(header({**shapes, extra: (1,)}))
    assert raised.value.unexpected == {extra}


def test_what_the_official_loader_ignores_in_the_router_file_is_let_pass():
    extra = {"faceid_adapter.1.to_k_faceid.weight": (320, 768), "optimizer.step": ()}
    shapes = {**ROUTER, **extra}
    UNIPORTRAIT_ROUTER.check(header(shapes))
    assert set(UNIPORTRAIT_ROUTER.used(list(shapes))) == ROUTER.keys()


def test_a_router_file_that_carries_the_whole_faceid_file_is_a_router_file():
    assert detect(header({**FACEID, **ROUTER})) is UNIPORTRAIT_ROUTER


def test_formats_have_distinct_names():
    assert len({each.name for each in formats()}) == len(formats())


# --- files ---


@pytest.mark.parametrize(
    ("expected", "content"),
    [
        (UNIPORTRAIT_FACEID, faceid),
        (UNIPORTRAIT_ROUTER, router),
        (CURRICULARFACE, backbone_state),
        (CLIP_VISION, lambda: transformers_clip().state_dict()),
    ],
)
def test_a_narrower_file_of_each_format_is_recognised_and_loaded(
    tmp_path: Path, expected: Format, content: Callable[[], dict[str, object]]
):
    path = write(tmp_path / "a.bin", content())
    assert detect(read_header(path)) is expected
    state = load(check(path, expected))
    assert state.keys() == expected.layout(state).keys()


def test_groups_are_those_of_the_published_file(tmp_path: Path):
    groups = load_groups(check(write(tmp_path / "a.bin", faceid()), UNIPORTRAIT_FACEID))
    assert groups.keys() == {"faceid_proj", "faceid_adapter"}
    assert torch.equal(groups["faceid_proj"]["latents"], faceid()["faceid_proj"]["latents"])


def test_the_pieces_of_uniportrait_come_under_their_modules_names(tmp_path: Path):
    weights = load_weights(write(tmp_path / "f.bin", faceid()), write(tmp_path / "r.bin", router()))
    assert weights.resampler.keys() == official_shapes("faceid_file.faceid_proj").keys()
    assert weights.faceid.keys() == official_shapes("faceid_file.faceid_adapter(expected)").keys()
    assert weights.router is not None
    assert weights.router.keys() == official_shapes("router_file.faceid_adapter(expected,used)").keys()


def test_the_header_of_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    headers: list[str] = []

    def counted(path: Path) -> Header:
        headers.append(path.name)
        return read_header(path)

    for module in (loading, reading):
        monkeypatch.setattr(module, "read_header", counted)
    load_weights(write(tmp_path / "f.bin", faceid()), write(tmp_path / "r.bin", router()))
    assert headers == ["f.bin", "r.bin"]


def test_one_person_needs_the_faceid_file_alone(tmp_path: Path):
    weights = load_weights(write(tmp_path / "f.bin", faceid()))
    assert weights.router is None


def test_a_router_of_another_release_is_refused(tmp_path: Path):
    other = router()
    for name, tensor in other["faceid_adapter"].items():
        if "aggr_router.weight" in name:
            other["faceid_adapter"][name] = tensor[:, :8].contiguous()
    files = write(tmp_path / "f.bin", faceid()), write(tmp_path / "r.bin", other)
    with pytest.raises(
        CheckpointMismatchError, match=r"r\.bin does not belong to f\.bin: its tokens is 8, not 16"
    ):
        load_weights(*files)


# --- other families ---


def sdxl_ip_adapter() -> Shapes:
    layout: Shapes = {"image_proj.proj.weight": (8192, 1280), "image_proj.proj.bias": (8192,)}
    layout |= {"image_proj.norm.weight": (2048,), "image_proj.norm.bias": (2048,)}
    return layout | {f"ip_adapter.{n}.to_{p}_ip.weight": (640, 2048) for n in range(1, 140, 2) for p in "kv"}


OTHER_FILES = [
    (grouped(image_proj="ip_file.image_proj", ip_adapter="ip_file.ip_adapter"), "an IP-Adapter"),
    ({"faceid_proj.norm_out.bias": (768,)}, "part of a UniPortrait faceid file"),
    (sdxl_ip_adapter(), "an IP-Adapter for SDXL"),
    ({"image_proj.latents": (1, 16, 768), "ip_adapter.1.to_k_ip.weight": (320, 768)}, "an IP-Adapter Plus"),
    (
        {"image_proj.proj.0.weight": (1, 1), "ip_adapter.0.to_q_lora.down.weight": (1, 1)},
        "an IP-Adapter FaceID",
    ),
    ({"lora_unet_down_blocks_0.lora_down.weight": (4, 320)}, "a LoRA"),
    ({"transformer.single_blocks.0.attn.to_q.lora_A.weight": (4, 8)}, "a LoRA"),
    (
        {
            "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
            "cond_stage_model.transformer.text_model.final_layer_norm.bias": (768,),
        },
        "a Stable Diffusion 1.x checkpoint",
    ),
    (
        {
            "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
            "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": (768,),
        },
        "an SDXL checkpoint",
    ),
    (
        {
            "model.diffusion_model.input_blocks.0.0.weight": (384, 4, 3, 3),
            "conditioner.embedders.0.model.ln_final.bias": (1280,),
        },
        "a refiner for SDXL",
    ),
    ({"control_model.zero_convs.0.0.weight": (320, 320, 1, 1)}, "a ControlNet"),
    ({"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}, "a VAE"),
    ({"layer1.0.bn1.weight": (64,), "fc.weight": (512, 25088)}, "iresnet"),
    ({"visual.transformer.resblocks.0.ln_1.weight": (1280,)}, "open_clip's layout"),
    ({"vision_model.embeddings.class_embedding": (1280,)}, "without its projection"),
    ({"something.weight": (1,)}, "an unknown type (its first tensor is something.weight)"),
    ({}, "without tensors"),
]


@pytest.mark.parametrize(("shapes", "says"), OTHER_FILES)
def test_another_family_is_named(shapes: Shapes, says: str):
    assert detect(header(shapes)) is None
    assert says in identify(header(shapes))


@official
def test_the_projects_own_formats_are_recognised(expected: Format, shapes: Shapes):
    assert [each for each in formats() if each.matches(header(shapes))] == [expected]


def test_a_file_of_the_wrong_family_is_refused_with_what_it_is_and_the_remedy(tmp_path: Path):
    path = write(tmp_path / "a.bin", {"lora_unet_x.lora_down.weight": torch.zeros(1)})
    with pytest.raises(
        CheckpointMismatchError, match=r"a\.bin is not .* seems to be a LoRA; get uniportrait-faceid"
    ):
        check(path, UNIPORTRAIT_FACEID)


def test_one_of_our_files_in_another_s_place_is_named(tmp_path: Path):
    with pytest.raises(CheckpointMismatchError, match="seems to be a UniPortrait router file"):
        load_weights(write(tmp_path / "a.bin", router()))


# --- configuration ---


def test_the_configuration_beside_a_file_is_read(tmp_path: Path):
    assert read_config(tmp_path / "model.bin") is None
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4}')
    assert read_config(tmp_path / "model.bin") == {"num_attention_heads": 4}


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_broken_configuration_is_refused(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnknownCheckpointError, match=r"config\.json"):
        read_config(tmp_path / "model.bin")


def tensor_bytes(state: dict[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def test_only_what_is_used_is_kept_of_the_router(tmp_path: Path):
    path = write(tmp_path / "a.bin", router())
    assert tensor_bytes(load(check(path, UNIPORTRAIT_ROUTER))) < sum(map(tensor_bytes, router().values()))
