"""One generation, from ``setup`` to ``postprocess``, in the order that both hosts have."""

import json
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.hosts.webui.standin.script_api import Callbacks, Script
from tests.hosts.webui.standin.texts import Conditioning, XLTexts
from tests.narrow import TEXT_WIDTH

TOKENS, WORDS = 77, 12
"""Rows of a text's encoding per chunk, and words that a chunk holds (fewer than the real 75, to be brief)."""

Subprompts = list[Any]


class InterruptedSampling(Exception):  # noqa: N818, the hosts' own name for it has no suffix either
    """Raised inside the denoiser and caught by the sampler."""


@dataclass
class Runner:
    """The scripts of a tab; a hook that raises is reported, and the generation goes on."""

    scripts: list[Script]
    raised: list[Exception] = field(default_factory=list[Exception])
    selectables: list[Any] = field(default_factory=list[Any])

    def run(self, hook: str, p: "Processing", *args: Any, **kwargs: Any) -> None:
        for script in self.scripts:
            own = p.script_args[script.args_from : script.args_to]
            try:
                getattr(script, hook)(p, *args, *own, **kwargs)
            except Exception as error:
                self.raised.append(error)

    def titled(self, name: str) -> Script | None:
        """The always visible script of a title, in any case."""
        return next((one for one in self.scripts if one.title().lower() == name.lower()), None)

    def selectable(self, name: str) -> tuple[int, Any]:
        """The script of a title in the list, and its number there from 1."""
        titles = [one.title().lower() for one in self.selectables]
        return titles.index(name.lower()) + 1, self.selectables[titles.index(name.lower())]

    def run_selected(self, p: "Processing") -> "Processed | None":
        """What the script that is selected makes; None without one."""
        number = p.script_args[0]
        if not number:
            return None
        script = self.selectables[number - 1]
        given = p.script_args[script.args_from : script.args_to]
        return script.run(p, *[one for one in given if one is not None])


@dataclass(repr=False)  # with __eq__ and so without __hash__, as in the host
class Processing:
    """What is to be generated."""

    host: Any
    prompt: str = "a park"
    negative_prompt: str = ""
    seed: int = 1
    steps: int = 2
    cfg_scale: float = 3.0
    width: int = 64
    height: int = 64
    batch_size: int = 1
    n_iter: int = 1
    enable_hr: bool = False
    denoising_strength: float | None = None
    scripts: Runner | None = None
    script_args: list[Any] = field(default_factory=list[Any])
    extra_generation_params: dict[str, Any] = field(default_factory=dict[str, Any])
    networks: tuple[tuple[str, float], ...] = ()
    hr_networks: tuple[tuple[str, float], ...] | None = None
    comments: dict[str, int] = field(default_factory=dict[str, int])
    is_hr_pass: bool = False
    is_api: bool = False
    do_not_save_grid: bool = True
    latents: list[Tensor] = field(default_factory=list[Tensor])

    @property
    def sd_model(self) -> Any:
        return self.host.sd_model

    @property
    def prompts(self) -> list[str]:
        """Of the current batch."""
        return [self.prompt] * self.batch_size

    def init(self) -> None:
        """Start pictures would be encoded here."""

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def run(self, hook: str, *args: Any, **kwargs: Any) -> None:
        if self.scripts is not None:
            self.scripts.run(hook, self, *args, **kwargs)


class Processed:
    """The result. What is said is a text from then on; the infotext's dict is that of ``p``."""

    def __init__(
        self, p: Processing, images: list[Image.Image], info: str = "", infotexts: list[str] | None = None
    ) -> None:
        self.images, self.info = images, info
        self.infotexts = infotexts or [info] * len(images)
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.extra_generation_params = p.extra_generation_params
        self.index_of_first_image = 0
        self.seed = p.seed

    def js(self) -> str:
        """What the API says of it."""
        told = {"extra_generation_params": self.extra_generation_params, "infotexts": self.infotexts}
        return json.dumps(told, default=lambda _: None)


@dataclass
class PostprocessImageArgs:
    """What ``postprocess_image`` may change."""

    image: Image.Image


@dataclass
class PostSampleArgs:
    """What ``post_sample`` may change."""

    samples: Any


@dataclass
class PostprocessBatchListArgs:
    """What ``postprocess_batch_list`` may change."""

    images: Any


def process_images(p: Processing) -> Processed:
    """Everything but the API; the caller holds the queue's lock."""
    host = p.host
    p.run("before_process")
    host.load_model()
    p.run("process")
    p.init()
    images: list[Image.Image] = []
    infotexts: list[str] = []
    for number in range(p.n_iter):
        host.begin_batch()
        host.activate(p.networks)
        with host.sampling_mode():
            latents = _sample(p, number)
            p.latents.append(latents)
            ps = PostSampleArgs(samples=latents)
            p.run("post_sample", ps)
            for picture in _decoded(p, ps.samples, number):
                pp = PostprocessImageArgs(image=picture)
                p.run("postprocess_image", pp)
                images.append(pp.image)
                infotexts.append(create_infotext(p))
        if host.interrupted:
            break
    host.interrupted = False
    processed = Processed(p, images, infotexts[0] if infotexts else "", infotexts)
    p.run("postprocess", processed)
    return processed


def _decoded(p: Processing, samples: Any, number: int) -> Iterator[Image.Image]:
    """Latents to pictures, with all that scripts may do to a batch; numbers that are none become black."""
    host = p.host
    assert not getattr(samples, "already_decoded", False)
    pixels = torch.stack([host.pixels(one) for one in samples]).clamp(0.0, 1.0)
    host.sanitise(pixels)
    p.run("postprocess_batch", images=pixels, batch_number=number)
    batch = PostprocessBatchListArgs(images=list(pixels))
    p.run("postprocess_batch_list", batch, batch_number=number)
    for sample in batch.images:
        colours = np.nan_to_num(255.0 * np.moveaxis(sample.cpu().numpy(), 0, 2))
        yield Image.fromarray(colours.round().astype(np.uint8))


def _sample(p: Processing, number: int) -> Tensor:
    noise = torch.stack(
        [_noise(p, number * p.batch_size + n, p.height, p.width) for n in range(p.batch_size)]
    )
    p.is_hr_pass = False
    latents = _pass(p, noise, noise, p.host.start_sigma)
    if not p.enable_hr:
        return latents
    p.is_hr_pass = True
    big = torch.nn.functional.interpolate(latents, scale_factor=2.0, mode="nearest")
    noise = torch.stack([_noise(p, 1000 + n, 2 * p.height, 2 * p.width) for n in range(p.batch_size)])
    if p.hr_networks is not None:
        p.host.activate(p.hr_networks)
    return _pass(p, big, noise, 0.5 * p.host.start_sigma)


def _pass(p: Processing, x: Tensor, noise: Tensor, sigma: float) -> Tensor:
    cond = [[p.host.encode(part) for part in p.prompt.split(" AND ")] for _ in range(p.batch_size)]
    uncond = [p.host.encode(p.negative_prompt, negative=True) for _ in range(p.batch_size)]
    p.host.before_sampling(p, x=x, noise=noise, c=cond, uc=uncond)
    start = noise * sigma if x is noise else x + noise * sigma
    return p.host.sample(p, start, sigma, cond, uncond)


def _noise(p: Processing, offset: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(p.seed + offset)
    return torch.randn(4, height // 8, width // 8, generator=generator)


def read(prompts: list[str]) -> Tensor:
    """What a model of the host makes of texts."""
    return torch.stack([encode(one) for one in prompts])


def encode(text: str) -> Tensor:
    """``t d``: 77 rows per chunk of words, random by the text."""
    chunks = len(text.split()) // WORDS + 1
    generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
    return torch.randn(TOKENS * chunks, TEXT_WIDTH, generator=generator)


def euler(denoise: Any, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """One evaluation per step; an interrupt ends with the latest latent."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        try:
            denoised = denoise(x, sigma, step)
        except InterruptedSampling:
            return x
        x = x + (x - denoised) / sigma * (after - sigma)
    return x


def images_tensor_to_samples(image: Tensor, approximation: int | None, model: Any) -> Tensor:
    """No VAE: the colours and their mean, an eighth as wide and high, with the noise that the hosts add."""
    small = torch.nn.functional.avg_pool2d(2.0 * image - 1.0, 8)
    latents = torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)
    return latents + 0.01 * torch.randn_like(latents)


def project(latents: Tensor) -> Tensor:
    """Three channels as colours, eight times as wide and high: no VAE, but every latent shows."""
    return latents[:3].sigmoid().repeat_interleave(8, 1).repeat_interleave(8, 2)


# --- infotext ---

PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def create_infotext(p: Processing) -> str:
    values = {"Steps": p.steps, "Seed": p.seed, "CFG scale": p.cfg_scale, **p.extra_generation_params}
    values = {key: value(p=p) if callable(value) else value for key, value in values.items()}
    written = [f"{key}: {_quote(str(value))}" for key, value in values.items() if value is not None]
    return f"{p.prompt}\nNegative prompt: {p.negative_prompt}\n{', '.join(written)}"


def parse_infotext(text: str) -> dict[str, str]:
    found = PARAMETER.findall(text.strip().split("\n")[-1])
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found}


def _quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(",:\n") else value


class Host(ABC):
    """What the two hosts have in common."""

    start_sigma = 14.0

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self.interrupted = False
        self.interrupt_at: int | None = None
        self.evaluations = 0
        self.pixels: Callable[[Tensor], Tensor] = project
        self.texts: XLTexts | None = None  # of SDXL; without them a text's encoding is random by the text
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        products = torch.cumprod(1 - betas, 0)
        self.sigmas = ((1 - products) / products).sqrt()

    def encode(self, text: str, *, negative: bool = False) -> Any:
        """Of one text."""
        if self.texts is None:
            return encode(text)
        with self.sampling_mode():
            made = self.texts.conditioning([text], negative)
        return Conditioning({name: value[0] for name, value in made.items()})

    @property
    def read(self) -> Callable[[list[str]], Any]:
        """``get_learned_conditioning``."""
        return read if self.texts is None else self.texts.conditioning

    @abstractmethod
    def sampling_mode(self) -> AbstractContextManager[None]:
        """In which the host samples and encodes."""

    def sigmas_from(self, sigma: float, steps: int) -> list[float]:
        return [*torch.linspace(sigma, 0.3, steps).tolist(), 0.0]

    def count_evaluation(self) -> None:
        """Before anything else in a denoiser."""
        if self.interrupted:
            raise InterruptedSampling
        self.evaluations += 1
        if self.interrupt_at is not None and self.evaluations > self.interrupt_at:
            self.interrupted, self.interrupt_at = True, None
            raise InterruptedSampling

    def sanitise(self, pixels: Tensor) -> None:
        """What the host does to decoded numbers that are none; the two leave them."""
        return

    @abstractmethod
    def new_denoiser(self, p: Processing) -> "AnyDenoiser":
        """What evaluates the model in each step of one sampling."""

    def sample(
        self, p: Processing, x: Tensor, sigma: float, cond: list[Subprompts], uncond: list[Any]
    ) -> Tensor:
        denoiser = self.new_denoiser(p)
        sigmas = self.sigmas_from(sigma, p.steps)
        return euler(lambda x, sigma, step: denoiser(x, sigma, step, cond, uncond), x, sigmas)

    def scaled(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The UNet's input and its timesteps."""
        step = int((self.sigmas - sigma).abs().argmin())
        return x / (sigma**2 + 1) ** 0.5, torch.full((x.shape[0],), step)


class AnyDenoiser(ABC):
    """The object that callbacks are told of."""

    def __init__(self, host: Any, p: Processing) -> None:
        self.host, self.p = host, p
        self.step, self.total_steps = 0, p.steps

    @abstractmethod
    def __call__(
        self, x: Tensor, sigma: float, step: int, conds: list[Subprompts], unconds: list[Any]
    ) -> Tensor:
        """One evaluation of the model, guided."""


def combine(conds: list[Tensor], uncond: Tensor, scale: float) -> Tensor:
    """Guidance of one image by all its subprompts, each of weight 1."""
    return uncond + sum((scale * (cond - uncond) for cond in conds), torch.zeros_like(uncond))
