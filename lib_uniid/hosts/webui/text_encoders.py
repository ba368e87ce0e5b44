"""The text encoders of a WebUI's checkpoint, as a method may ask for them.

States are made on the host's own way from prompts to conditioning, so its memory management, its LoRAs and
its setting of skipped layers apply. The first tokens of an empty prompt are replaced behind the table of
token embeddings.
"""

import weakref
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.text_encoders import Encode, TextEncoders
from lib_uniid.hosts.webui.attachment import is_forge
from lib_uniid.hosts.webui.services import HostServices
from lib_uniid.typing import Float

TABLE = ".token_embedding"
"""How the name of a text encoder's table ends, in transformers and in open_clip."""


def text_encoders_of(p: Any, services: HostServices) -> TextEncoders | None:
    """Those of the checkpoint that ``p`` samples from; None if the host has them in another place."""
    encoders = _encoders_of(p)
    if not isinstance(encoders, nn.Module):
        return None
    return HostTextEncoders(encoders, encoder_of(p, services), text_key(p, services))


def text_key(p: Any, services: HostServices) -> Hashable:
    """Changes with everything that the text states of a text depend on."""
    encoders = _encoders_of(p)
    module = weakref.ref(encoders) if isinstance(encoders, nn.Module) else id(p.sd_model)
    # A1111 loads a checkpoint of the same configuration into the same modules.
    checkpoint: Hashable = getattr(p.sd_model, "sd_checkpoint_info", None)
    return module, checkpoint, _patches_of(p), services.text_settings()


def encoder_of(p: Any, services: HostServices) -> Encode:
    """The host's text states of texts for ``p``, outside of inference mode if it is called outside of it."""

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Float[Tensor, "b t d"]:
        return services.encode_text(p, texts).clone()

    return encode


class HostTextEncoders:
    """See :class:`lib_uniid.attention.text_encoders.TextEncoders`.

    ``penultimate`` gives the states that the UNet reads: those of an earlier layer where the user skips more.
    """

    def __init__(self, encoders: nn.Module, encode: Encode, key: Hashable) -> None:
        self._encoders, self._encode, self._key = encoders, encode, key

    @property
    def _tables(self) -> list[nn.Module]:
        """In the order in which the host joins the encoders' states."""
        return [module for name, module in self._encoders.named_modules() if name.endswith(TABLE)]

    @property
    def key(self) -> Hashable:
        return self._key

    def table(self, number: int) -> Float[Tensor, "v d"]:
        return _weight(self._tables[number]).detach()

    def penultimate(self, number: int, embeddings: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        places = slice(1, 1 + len(embeddings))  # after the token of the begin

        def put(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
            changed = embedded.clone()
            changed[:, places] = embeddings.to(embedded)
            return changed

        tables = self._tables
        hook = tables[number].register_forward_hook(put)
        try:
            states = self._encode([""])
        finally:
            hook.remove()
        widths = [_weight(table).shape[1] for table in tables]
        first = sum(widths[:number])
        return states[0, places, first : first + widths[number]]


def _encoders_of(p: Any) -> object:
    """The module with all text encoders."""
    holder = getattr(p.sd_model.forge_objects, "clip", None) if is_forge(p) else p.sd_model
    return getattr(holder, "cond_stage_model", None)


def _patches_of(p: Any) -> Hashable:
    """What Forge merges into the text encoders: LoRAs by their names, or the number of the last change."""
    clip = getattr(getattr(p.sd_model, "forge_objects", None), "clip", None)
    patcher = getattr(clip, "patcher", None)
    return tuple(getattr(patcher, "lora_patches", ())), getattr(patcher, "patches_uuid", None)


def _weight(table: Any) -> Tensor:
    """The hosts wrap a table for textual inversion; not all wrappers have its weight."""
    return table.weight if isinstance(getattr(table, "weight", None), Tensor) else table.wrapped.weight
