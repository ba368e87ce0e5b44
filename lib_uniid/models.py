"""The networks of a model folder, each loaded when it is first needed, and kept."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.declarations import id_encoders
from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.encoders.identity import IDEncoder, IDFeatures
from lib_uniid.errors import EncoderMismatchError, UnknownCheckpointError
from lib_uniid.files import private_folder
from lib_uniid.methods import registry
from lib_uniid.methods.method import Method
from lib_uniid.plugins import plugins
from lib_uniid.typing import UInt8

_GPUS = frozenset({"cuda", "mps", "xpu"})


@dataclass(frozen=True, kw_only=True)
class Models:
    """Whatever turns pictures of people into what a host is given.

    ``device`` is for the encoders, which are on it only while they work; on a GPU they work in half
    precision. ``room`` is entered for that time: a host makes room on the device, and takes it back after.
    ``cache`` keeps encodings between runs. ``notify`` is told what is being loaded, in a few words.
    """

    folder: ModelFolder
    device: torch.device
    cache: EncodingCache
    notify: Callable[[str], None]
    room: Callable[[], AbstractContextManager[object]] = nullcontext

    def encode(self, crops: UInt8[np.ndarray, "r side side 3"]) -> IDFeatures:
        """ID features of one person; without structure where there is no CLIP image encoder."""
        encoder = _Moved(self._encoder, self._encoding)
        return self.cache.encode(encoder, crops, structure=self._encoder.clip is not None)

    def null_identity(self, fingerprint: str) -> IDFeatures:
        """The features of the null identity, by the encoders of this fingerprint.

        They never change, so they are kept beside the encodings, and enrolled people need no encoders.
        ``EncoderMismatchError`` where the folder's encoders are others.
        """
        path = self.cache.folder / f"null-identity-{fingerprint}.safetensors"
        try:
            return IDFeatures.load(path, fingerprint)
        except (UnknownCheckpointError, EncoderMismatchError):
            pass  # not made yet, or damaged
        with self._encoding() as encoder:
            features = encoder.uncond(structure="+" in fingerprint)
            if not features.finite:  # too much for half precision; see _Moved
                encoder.in_float32()
                features = encoder.uncond(structure="+" in fingerprint)
        features = features.to_cpu()
        features.require(fingerprint)
        private_folder(self.cache.folder)
        features.save(path)
        return features

    def method(self, name: str | None = None) -> Method:
        """What makes plans of people's features; opened once. ``ConfigError`` where there is no such method.

        ``PluginError`` where it cannot be opened and a plugin that is not built in brought it.
        """
        declared = registry.require(name)
        if declared not in self._methods:
            with plugins().guarding(declared.plugin, f"opening the method {declared.value.name}"):
                self._methods[declared] = declared.value.open(self.folder, self.notify)
        return self._methods[declared]

    @cached_property
    def _methods(self) -> dict[registry.Registered[registry.MethodDeclaration], Method]:
        return {}

    @contextmanager
    def _encoding(self) -> Generator[IDEncoder]:
        """The encoders, on the device for as long as they work."""
        encoder = self._encoder
        with self.room():
            try:
                for module in encoder.modules:
                    module.to(self.device)
                yield encoder
            finally:
                for module in encoder.modules:
                    module.to("cpu")

    @cached_property
    def _encoder(self) -> IDEncoder:
        self.notify("loading the face encoders")
        declared = id_encoders()[registry.require(None).value.encoder]
        with plugins().guarding(declared.plugin, f"opening the ID encoder {declared.value.name}"):
            encoder = declared.value.open(self.folder)
        for module in encoder.modules:
            module.to(working_precision(self.device))
        return encoder


def working_precision(device: torch.device) -> torch.dtype:
    """Of the face encoders: half on GPUs, where ViT-H then takes 1.3 GB; float32 elsewhere."""
    return torch.float16 if device.type in _GPUS else torch.float32


@dataclass(frozen=True, slots=True)
class _Moved:
    """The encoders as the cache asks for them: brought to their device only for what is not in the cache."""

    encoder: IDEncoder
    at_work: Callable[[], AbstractContextManager[IDEncoder]]

    @property
    def fingerprint(self) -> str:
        return self.encoder.fingerprint

    def encode(self, crops: UInt8[np.ndarray, "r side side 3"], structure: bool = True) -> IDFeatures:
        """On the CPU in float32; what overflows in half precision, as on some GPUs, is made in float32."""
        with self.at_work() as encoder:
            features = encoder.encode(crops, structure)
            if not features.finite:
                encoder.in_float32()
                features = encoder.encode(crops, structure)
        return features.to_cpu()
