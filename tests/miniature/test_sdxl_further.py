"""Parts of the SDXL miniature are trained further from what came with the repository."""

import random
from pathlib import Path

import pytest
import torch

from miniature.captions import caption
from miniature.scenes import SHIRT_COLOURS
from miniature.sdxl import assemble, further, pictures, results
from miniature.world import LARGE, sample_scenes


def test_scenes_on_shirts_are_often_red_and_fit_their_place() -> None:
    generator = torch.Generator().manual_seed(1)
    scene = pictures.alike_shirts(sample_scenes(400, 2, generator, size=LARGE), generator)
    shirts = scene.looks.shirt.reshape(400, 2)
    assert shirts[:, 0].eq(shirts[:, 1]).float().mean() > 0.6
    assert shirts.eq(SHIRT_COLOURS.index("red")).float().mean() > 0.3
    meadow = scene.place == 6
    assert not shirts[meadow].eq(SHIRT_COLOURS.index("green")).any()


def test_captions_on_shirts_speak_of_one_persons_shirt_at_the_end() -> None:
    generator = torch.Generator().manual_seed(2)
    scene = pictures.alike_shirts(sample_scenes(200, 2, generator, size=LARGE), generator)
    told = [caption(scene, index, random.Random(3 + index), shirts=True) for index in range(200)]
    usual = [caption(scene, index, random.Random(3 + index)) for index in range(200)]
    assert sum("shirt" in one for one in told) > 1.2 * sum("shirt" in one for one in usual)
    assert any(", in a red shirt" in one for one in told)
    assert any("in red shirts" in one for one in told)
    assert not any("in a red shirt" in one for one in usual)


def test_what_came_with_the_repository_is_unpacked_and_kept_again_bit_for_bit(tmp_path: Path) -> None:
    assemble.unpack(tmp_path / "results")
    kept = tmp_path / "kept"
    kept.mkdir()
    assemble.keep(tmp_path / "results", kept, kept / "base.safetensors")
    for name in ("iresnet100", "uniid-text_branch_sdxl", "uniid-adapter_branch_sdxl"):
        shipped = assemble.MODELS / "uniid" / f"{name}.safetensors"
        assert (kept / shipped.name).read_bytes() == shipped.read_bytes()
    assert (kept / "base.safetensors").read_bytes() == assemble.COMPACT.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("course", further.COURSES)
def test_a_course_changes_its_part_alone(
    course: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, out = tmp_path / "begin", tmp_path / "out"
    arguments = [
        "further",
        course,
        "--begin",
        begin,
        "--out",
        out,
        "--pictures",
        4,
        "--batch",
        2,
        "--steps",
        2,
    ]
    monkeypatch.setattr("sys.argv", [str(one) for one in arguments])
    assert further.main() == 0
    changed: set[str] = set()
    for name in ("base", "adapter_branch", "text_branch", "recogniser"):
        after = results.load(out, name)
        changed |= {key for key, one in results.load(begin, name).items() if not torch.equal(one, after[key])}
    assert changed
    if course == "shirts":
        assert all(
            key.startswith("text") or ".attn2.to_k." in key or ".attn2.to_v." in key for key in changed
        )
    else:
        assert all(key.startswith(("branch.", "projections.")) for key in changed)
