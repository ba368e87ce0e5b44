"""Single-file checkpoints of Stable Diffusion in their original (ldm, sgm) layouts, of any width.

Sizes come from the tensors' shapes. The numbers of heads, the text models' activations, the latent scale and
the prediction type come from a ``.yaml`` of the same name, which AUTOMATIC1111 reads too, and are else those
of the base family.
"""

from dataclasses import dataclass
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection

from lib_uniid.bases import STANDALONE, Base, of_checkpoint, titles
from lib_uniid.checkpoints.families import identify
from lib_uniid.checkpoints.header import Header
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError
from lib_uniid.hosts.diffusers.ldm_hints import Hints
from lib_uniid.hosts.diffusers.ldm_state import State
from lib_uniid.hosts.diffusers.ldm_text import TextModel, text_model_of
from lib_uniid.hosts.diffusers.ldm_unet import unet_of, vae_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The networks of a Stable Diffusion model, on the CPU in the file's own precision.

    ``text_models`` are in the order of the family's ``text_encoders``.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_models: tuple[TextModel, ...]
    prediction: str
    base: Base


def networks(state: State, hints: Hints, name: str) -> Networks:
    """Build the networks of a checkpoint; ``name`` is its name in errors.

    ``UnknownCheckpointError`` for another base model, ``CheckpointMismatchError`` if a tensor is missing or
    has the wrong shape.
    """
    state = {key.removeprefix("state_dict."): tensor for key, tensor in state.items()}  # .ckpt files nest it
    base = _family(state, name)
    hints = hints.completed(base)
    try:
        texts = _text_models(state, base, hints, name)
        unet = unet_of(state, hints, _pooled_width(texts), name)
        vae = vae_of(state, hints, name)
    except KeyError as missing:
        key = str(missing.args[0])
        message = f"{name} is incomplete: the tensor {key} is missing; download it again"
        raise CheckpointMismatchError(message, missing=[key]) from None
    return Networks(unet=unet, vae=vae, text_models=texts, prediction=hints.prediction, base=base)


def _text_models(state: State, base: Base, hints: Hints, name: str) -> tuple[TextModel, ...]:
    single = len(base.text_encoders) == 1
    return tuple(
        text_model_of(state, encoder, own, f"the text model {'' if single else f'{number} '}of {name}")
        for number, (encoder, own) in enumerate(zip(base.text_encoders, hints.texts, strict=True), start=1)
    )


def _pooled_width(texts: tuple[TextModel, ...]) -> int:
    """Channels of the pooled texts."""
    projecting = [text for text in texts if isinstance(text, CLIPTextModelWithProjection)]
    return sum(text.text_projection.out_features for text in projecting)


def _family(state: State, name: str) -> Base:
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    family = identify(Header(path=Path(name), container="safetensors", shapes=shapes))
    base = of_checkpoint(family)
    if base not in STANDALONE:
        raise UnknownCheckpointError(f"{name} is {family}; give a {titles(STANDALONE)} checkpoint")
    return base
