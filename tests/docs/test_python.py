"""``docs/python.md`` runs as it stands: one program of all its blocks, on narrow networks."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from lib_uniid.errors import ConfigError
from lib_uniid.hosts.diffusers.tokenizer import clip_tokenizer
from tests.docs.pages import blocks, run
from tests.narrow import narrow_text_model, narrow_unet, narrow_vae
from tests.red_faces import red_face_picture
from tests.standalone import needs_standalone_host

pytestmark = needs_standalone_host

PAGE = "docs/python.md"
LINES = 24
STEPS, FEWER = "num_inference_steps=25", "num_inference_steps=3"
SIDE = 8
"""Of the latents: the page takes the pipeline's own size."""


@pytest.fixture(scope="module")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page takes as given: a pipeline, UniID's models, a picture each of Anna and Ben."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "models").symlink_to(models)
    unet = narrow_unet()
    unet.register_to_config(sample_size=SIDE)
    parts: dict[str, Any] = {
        "unet": unet,
        "vae": narrow_vae(),
        "text_encoder": narrow_text_model(),
        "tokenizer": clip_tokenizer(),
        "scheduler": DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    }
    left_out: dict[str, Any] = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
    pipe = StableDiffusionPipeline(**parts, **left_out, requires_safety_checker=False)
    pipe.save_pretrained(folder / "stable-diffusion-v1-5")
    anna = red_face_picture((64, 64))
    ben = anna.copy()
    ben[50:96, 32:80] = (255, 30, 0)
    for name, picture in (("Anna", anna), ("Ben", ben)):
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder


def test_the_program_in_the_readme_has_ten_lines():
    (program,) = blocks("README.md", "python")
    assert len([line for line in program.splitlines() if line]) <= 10


def test_the_pages_import_from_the_public_module_alone():
    for page in (PAGE, "README.md"):
        modules = re.findall(r"from (lib_uniid\S*) import", "".join(blocks(page, "python")))
        assert set(modules) == {"lib_uniid.python"}


@pytest.fixture(scope="module")
def names(folder: Path) -> dict[str, Any]:
    """All names of the page's program, after it ran."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        program = "\n".join(blocks(PAGE, "python"))
        assert program.count(STEPS) == program.count("pipe(")
        return run(program.replace(STEPS, FEWER), folder)


def test_the_first_example_is_short():
    lines = [line for line in blocks(PAGE, "python")[0].splitlines() if line]
    assert len(lines) <= LINES


def test_every_example_makes_its_pictures(names: dict[str, Any]):
    assert len(names["made"]) == names["pictures"]
    assert names["picture"].size == (8 * SIDE, 8 * SIDE)
    assert names["anna"].name == "Anna"
    assert names["rows"].progress == 1.0


def test_the_pictures_have_the_people_in_them(names: dict[str, Any]):
    again = {"num_inference_steps": 2, "output_type": "latent"}

    def latents(plan: Any) -> torch.Tensor:
        names["rows"].roles = [names["Role"].UNCOND, names["Role"].COND]
        with names["injected"](names["sites"], plan, names["rows"]):
            return names["pipe"]("a park", generator=torch.Generator().manual_seed(1), **again).images

    plain = latents(None)
    assert not torch.equal(latents(names["plan"]), plain)
    assert torch.equal(latents(None), plain)


def test_a_call_with_another_number_of_rows_is_refused_with_the_documented_message(names: dict[str, Any]):
    names["rows"].roles = [names["Role"].COND]
    with (
        names["injected"](names["sites"], names["plan"], names["rows"]),
        pytest.raises(ConfigError, match="called with 2 rows and the host named 1"),
    ):
        names["pipe"]("a park", num_inference_steps=1)
