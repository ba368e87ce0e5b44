"""The stand-alone host: seeds, batches, guidance, start pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lib_uniid.attention.rows import Role, Rows
from lib_uniid.bases import SD15
from lib_uniid.config import SAMPLERS, GenerationSettings
from lib_uniid.errors import ConfigError, UnknownCheckpointError
from lib_uniid.host import SamplingOptions
from lib_uniid.hosts.diffusers.host import DiffusersHost, rough_colours
from lib_uniid.hosts.finite import NotFiniteError
from tests import narrow

CPU = torch.device("cpu")
BRIEF = GenerationSettings(prompt="a man in a park", steps=3, cfg_scale=3.0)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> DiffusersHost:
    path = narrow.write_checkpoint(tmp_path_factory.mktemp("base"))
    return DiffusersHost.load(path, CPU, torch.float32)


def like(**changes: object) -> GenerationSettings:
    values = {name: getattr(BRIEF, name) for name in ("prompt", "steps", "cfg_scale")} | changes
    return GenerationSettings(**values)  # pyright: ignore[reportArgumentType]


def test_a_picture_has_the_size_that_the_model_was_trained_on(host: DiffusersHost):
    (picture,) = host.decode(host.sample(BRIEF, [0]))
    assert picture.shape == (128, 128, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(("width", "height"), [(64, 192), (72, 104)])
def test_other_sizes_are_made_as_requested(host: DiffusersHost, width: int, height: int):
    (picture,) = host.decode(host.sample(like(width=width, height=height), [0]))
    assert picture.shape == (height, width, 3)


def test_a_seed_gives_the_same_picture_again_and_another_seed_another(host: DiffusersHost):
    first, again, other = (host.sample(BRIEF, [seed]) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


@pytest.mark.parametrize("sampler", ["ddim", "euler_a"])
def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch(host: DiffusersHost, sampler: str):
    batch = host.sample(like(sampler=sampler), [3, 4, 5])
    alone = host.sample(like(sampler=sampler), [4])
    assert torch.allclose(batch[1:2], alone, atol=1e-4)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "DEISMultistepScheduler"])
def test_every_sampler_makes_finite_latents_that_follow_the_prompt(host: DiffusersHost, sampler: str):
    settings = like(sampler=sampler, steps=4)
    latents = host.sample(settings, [0])
    assert torch.isfinite(latents).all()
    other = host.sample(like(sampler=sampler, steps=4, prompt="a red car"), [0])
    assert not torch.equal(latents, other)


def test_cfg_scale_one_skips_uncond_and_equals_the_cond_prediction(host: DiffusersHost):
    calls: list[int] = []
    hook = host.unet.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    plain = host.sample(like(cfg_scale=1.0), [0, 1])
    hook.remove()
    assert calls == [2, 2, 2]
    same_words = host.sample(like(cfg_scale=5.0, negative_prompt=BRIEF.prompt), [0, 1])
    assert torch.allclose(plain, same_words, atol=1e-3)


def test_rows_get_their_roles_and_the_share_of_steps_done(host: DiffusersHost):
    rows, seen = Rows(()), []
    hook = host.unet.register_forward_pre_hook(lambda *_: seen.append((rows.progress, rows.roles)))
    host.sample(BRIEF, [0, 1], SamplingOptions(rows=rows))
    hook.remove()
    assert [progress for progress, _ in seen] == pytest.approx([0, 1 / 3, 2 / 3])
    assert seen[0][1] == (Role.UNCOND, Role.UNCOND, Role.COND, Role.COND)


def test_a_start_picture_leaves_out_the_first_steps(host: DiffusersHost):
    rows, seen = Rows(()), list[float]()
    hook = host.unet.register_forward_pre_hook(lambda *_: seen.append(rows.progress))
    options = SamplingOptions(rows=rows, start=np.zeros((128, 128, 3), dtype=np.uint8))
    host.sample(like(steps=4, strength=0.5), [0], options)
    hook.remove()
    assert seen == pytest.approx([0.5, 0.75])


def test_progress_counts_the_steps_and_cancels_by_raising(host: DiffusersHost):
    steps: list[tuple[int, int]] = []
    host.sample(BRIEF, [0], SamplingOptions(progress=lambda step, total: steps.append((step, total))))
    assert steps == [(1, 3), (2, 3), (3, 3)]

    def cancel(step: int, _: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host.sample(BRIEF, [0], SamplingOptions(progress=cancel))


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m"])
def test_a_start_picture_is_kept_more_the_lower_the_strength(host: DiffusersHost, sampler: str):
    start = np.full((128, 128, 3), 200, dtype=np.uint8)
    kept = host._encode(start)  # pyright: ignore[reportPrivateUsage]
    distances = [
        (
            host.sample(like(sampler=sampler, steps=5, strength=strength), [0], SamplingOptions(start=start))
            - kept
        )
        .norm()
        .item()
        for strength in (0.2, 0.6, 1.0)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[2]


def test_strength_sets_the_number_of_steps_but_at_least_one(host: DiffusersHost):
    start = np.zeros((128, 128, 3), dtype=np.uint8)
    totals: list[int] = []
    for strength in (0.01, 0.5, 1.0):
        settings = like(steps=4, strength=strength)
        host.sample(
            settings, [0], SamplingOptions(start=start, progress=lambda _, total: totals.append(total))
        )
    assert sorted(set(totals)) == [1, 2, 4]


def test_a_start_picture_of_another_size_is_refused(host: DiffusersHost):
    with pytest.raises(ConfigError, match="must be 128 x 128 px, got 64 x 128 px"):
        host.sample(BRIEF, [0], SamplingOptions(start=np.zeros((128, 64, 3), dtype=np.uint8)))


def test_words_beyond_the_77th_token_are_named(host: DiffusersHost):
    assert host.overlong("a cat") == ""
    assert host.overlong("cat " * 75 + "dog, bird") == "dog, bird"


@pytest.mark.parametrize(("tokens", "words"), [(0, 75), (1, 75), (3, 73), (12, 64)])
def test_words_for_which_tokens_of_identities_leave_no_room_are_named(
    host: DiffusersHost, tokens: int, words: int
):
    assert host.overlong("cat " * words, tokens) == ""
    assert host.overlong("cat " * words + "dog", tokens) == "dog"


def save_folder(host: DiffusersHost, folder: Path) -> None:
    (text,) = host.text_encoders.models
    for part, name in ((host.unet, "unet"), (host.vae, "vae"), (text, "text_encoder")):
        part.save_pretrained(folder / name)  # pyright: ignore[reportCallIssue]
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')


def test_a_diffusers_folder_gives_the_same_picture_as_the_single_file(host: DiffusersHost, tmp_path: Path):
    save_folder(host, tmp_path)
    folder = DiffusersHost.load(tmp_path, CPU, torch.float32)
    assert folder.side == 128
    assert torch.equal(folder.sample(BRIEF, [0]), host.sample(BRIEF, [0]))


def test_a_diffusers_folder_whose_weights_are_no_numbers_is_refused_with_the_tensor(
    host: DiffusersHost, tmp_path: Path
):
    save_folder(host, tmp_path)
    (file,) = (tmp_path / "vae").glob("*.safetensors")
    state = load_file(file)
    state["decoder.conv_out.bias"][0] = float("nan")
    save_file(state, file, {"format": "pt"})
    with pytest.raises(UnknownCheckpointError, match=r"/vae is damaged: decoder\.conv_out\.bias holds"):
        DiffusersHost.load(tmp_path, CPU, torch.float32)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path):
    with pytest.raises(UnknownCheckpointError, match="not a diffusers folder"):
        DiffusersHost.load(tmp_path, CPU, torch.float32)


@pytest.mark.parametrize(
    ("part", "said"), [("unet", "the latents are not"), ("vae", "the pixels of the decoded")]
)
def test_numbers_that_are_none_are_an_error_and_no_picture(host: DiffusersHost, part: str, said: str):
    def spoil(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output * float("nan")

    network: nn.Module = host.unet.conv_out if part == "unet" else host.vae.decoder.conv_out
    hook = network.register_forward_hook(spoil)
    with pytest.raises(NotFiniteError, match=rf"{said}.*half precision is the likely cause.*--device cpu"):
        host.decode(host.sample(BRIEF, [0]))
    hook.remove()


def test_rough_colours_are_a_linear_map_of_each_latent():
    latents = torch.zeros(1, 4, 2, 3)
    latents[0, 0, 1, 2] = 1.0
    picture = rough_colours(latents, SD15)
    assert picture.shape == (1, 2, 3, 3)
    assert picture[0, 0, 0].tolist() == [128, 128, 128]
    expected = np.round((np.array(SD15.latent_colours[0]) / 2 + 0.5) * 255)
    assert np.abs(picture[0, 1, 2].numpy() - expected).max() <= 1
