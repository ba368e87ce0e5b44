"""The networks of a models folder, each loaded on first use and kept."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.declarations import IDEncoderDeclaration, id_encoder
from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.encoders.encoder import FaceEncoder
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import EncoderMismatchError, UnknownCheckpointError
from lib_uniid.files import private_folder
from lib_uniid.guards import guarded_encoder
from lib_uniid.methods import registry
from lib_uniid.methods.method import Method
from lib_uniid.plugins import Registered, plugins
from lib_uniid.typing import UInt8

_GPUS = frozenset({"cuda", "mps", "xpu"})


@dataclass(frozen=True, kw_only=True)
class Models:
    """The ID encoders and the methods.

    ``device`` is for the encoders, which are on it only while they run; on a GPU they run in half precision.
    ``room`` is a context for that time, in which the host frees memory on the device. ``cache`` keeps
    encodings between runs. ``notify`` is called with a short text on what is loaded.
    """

    folder: ModelFolder
    device: torch.device
    cache: EncodingCache
    notify: Callable[[str], None]
    room: Callable[[], AbstractContextManager[object]] = nullcontext

    def encode(self, crops: UInt8[np.ndarray, "r side side 3"], method: str | None = None) -> IDFeatures:
        """ID features of one person, by the encoder of a method (None: the default method).

        Without structure features if the encoder cannot make them. ``ConfigError`` if there is no such method
        or encoder, ``PluginError`` if the encoder of a plugin fails.
        """
        return self.encode_with(registry.require(method).value.encoder, crops)

    def encode_with(self, name: str, crops: UInt8[np.ndarray, "r side side 3"]) -> IDFeatures:
        """The same by the encoder of this name."""
        encoder = self._encoder(name)
        on_demand = _EncoderOnDemand(encoder, partial(self._encoding, encoder))
        return self.cache.encode(on_demand, crops, structure=encoder.reads_structure)

    def null_identity(self, people: IDFeatures, method: str | None = None) -> IDFeatures:
        """The features of the null identity, by the encoder of a method, for people with such features.

        They are constant, so they are cached, and a generation with enrolled people loads no encoders.
        ``EncoderMismatchError`` if the method has another encoder.
        """
        structure = people.get("structure") is not None
        name = f"null-identity-{people.fingerprint}{'' if structure else '-intrinsic'}.safetensors"
        path = self.cache.folder / name
        try:
            features = IDFeatures.load(path)
            people.require(features)
        except (UnknownCheckpointError, EncoderMismatchError):
            pass  # not cached, or damaged
        else:
            return features
        name = registry.require(method).value.encoder
        with self._encoding(self._encoder(name)) as encoder:
            features = encoder.uncond(structure)
            if not features.finite:  # overflow in half precision; see _EncoderOnDemand
                encoder.in_float32()
                features = encoder.uncond(structure)
        features = features.to_cpu()
        people.require(features)
        private_folder(self.cache.folder)
        features.save(path)
        return features

    def method(self, name: str | None = None) -> Method:
        """The method of this name, opened once. ``ConfigError`` if there is no such method.

        ``PluginError`` if the method of a plugin that is not built in cannot be opened.
        """
        declared = registry.require(name)
        if declared not in self._methods:
            with plugins().guarding(declared.plugin, f"opening the method {declared.value.name}"):
                self._methods[declared] = declared.value.open(self.folder, self.notify)
        return self._methods[declared]

    @cached_property
    def _methods(self) -> dict[registry.Registered[registry.MethodDeclaration], Method]:
        return {}

    @cached_property
    def _encoders(self) -> dict[Registered[IDEncoderDeclaration], FaceEncoder]:
        return {}

    def _encoder(self, name: str) -> FaceEncoder:
        """The encoder of this name, opened once."""
        declared = id_encoder(name)
        if declared not in self._encoders:
            self.notify("loading the face encoders")
            encoder = guarded_encoder(
                partial(declared.value.open, self.folder), plugin=declared.plugin, name=declared.value.name
            )
            for module in encoder.modules:
                module.to(working_precision(self.device))
            self._encoders[declared] = encoder
        return self._encoders[declared]

    @contextmanager
    def _encoding(self, encoder: FaceEncoder) -> Generator[FaceEncoder]:
        """The encoder, on the device inside the context."""
        with self.room():
            try:
                for module in encoder.modules:
                    module.to(self.device)
                yield encoder
            finally:
                for module in encoder.modules:
                    module.to("cpu")


def working_precision(device: torch.device) -> torch.dtype:
    """The precision of the face encoders: half on GPUs, where ViT-H takes 1.3 GB; else float32."""
    return torch.float16 if device.type in _GPUS else torch.float32


@dataclass(frozen=True, slots=True)
class _EncoderOnDemand:
    """The encoders for the cache: they move to their device only if an encoding is not cached."""

    encoder: FaceEncoder
    on_device: Callable[[], AbstractContextManager[FaceEncoder]]

    @property
    def fingerprint(self) -> str:
        return self.encoder.fingerprint

    def encode(self, crops: UInt8[np.ndarray, "r side side 3"], structure: bool = True) -> IDFeatures:
        """ID features on the CPU in float32; after an overflow in half precision, encoded in float32."""
        with self.on_device() as encoder:
            features = encoder.encode(crops, structure)
            if not features.finite:
                encoder.in_float32()
                features = encoder.encode(crops, structure)
        return features.to_cpu()
