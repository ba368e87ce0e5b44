"""The runtime that WebUI, page and command line share: a models folder and the networks loaded from it.

It is created when the WebUI starts, so heavy modules are imported on first use.
"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_uniid.declarations import FaceDetector, face_detector, scorer
from lib_uniid.plugins import Registered

if TYPE_CHECKING:
    from torch import device as Device

    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.cache import EncodingCache
    from lib_uniid.evaluation.presence import Check
    from lib_uniid.faces.detected import DetectedFaces
    from lib_uniid.faces.finder import Finder
    from lib_uniid.library.store import Library
    from lib_uniid.models import Models
else:
    Check = Device = EncodingCache = Finder = Library = ModelFolder = Models = DetectedFaces = Any


def free_memory() -> None:
    """Return unused memory to the system and to the GPU."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # the GPU has failed
            return


class Runtime:
    """A models folder, its index, its library, and the networks, each loaded once and kept.

    Several threads may use it at once: the panel detects faces beside a generation.

    Args:
        models_folder: usually a WebUI's ``models``.
        device: returns torch's name of the device for the encoders; called once, on first use.
        room: a context while the encoders are on the device, in which the host frees memory there.
        free: returns memory after networks are dropped.
        notify: called with a short text on what is loaded.
        library: the folder of enrolled people; None is ``uniid/library`` below the models.
        cache: the folder of encodings; None is ``uniid/cache`` below the models.
        detector: the name of the face detector; None is ``UNIID_DETECTOR``, or the built-in one.
        check: the name of the check of the result; None is ``UNIID_CHECK``, or the built-in one.
    """

    def __init__(
        self,
        models_folder: Path,
        *,
        device: Callable[[], str] = lambda: "cpu",
        room: Callable[[], AbstractContextManager[object]] = nullcontext,
        free: Callable[[], None] = free_memory,
        notify: Callable[[str], None] = lambda _: None,
        library: Path | None = None,
        cache: Path | None = None,
        detector: str | None = None,
        check: str | None = None,
    ) -> None:
        self.models_folder, self.notify = models_folder, notify
        self._device, self._room, self._free = device, room, free
        self._library, self._cache = library, cache
        self._lock = threading.RLock()
        self._index: ModelFolder | None = None
        self._models: Models | None = None
        self._detector = detector or os.environ.get("UNIID_DETECTOR") or None
        self._check = check or os.environ.get("UNIID_CHECK") or None
        self._finders: dict[Registered[FaceDetector], Finder] = {}
        self._detected: DetectedFaces | None = None

    @property
    def library(self) -> Library:
        """The enrolled people."""
        from lib_uniid.library.store import Library

        return Library(folder=self._library or self.models_folder / "uniid" / "library")

    @property
    def cache(self) -> EncodingCache:
        """Encodings of pictures: beside the models, or in the user's cache if that folder is read-only."""
        from lib_uniid.caches import beside
        from lib_uniid.encoders.cache import EncodingCache

        return EncodingCache(folder=self._cache or beside(self.models_folder / "uniid" / "cache"))

    @property
    def detected(self) -> DetectedFaces:
        """The cache of faces detected in pictures, in the panel or for a generation."""
        from lib_uniid.faces.detected import DetectedFaces

        with self._lock:
            if self._detected is None:
                self._detected = DetectedFaces()
            return self._detected

    @cached_property
    def device(self) -> Device:
        """The device of the encoders."""
        import torch

        return torch.device(self._device())

    @property
    def index(self) -> ModelFolder:
        """The model files, as of the last read of the folder.

        Raises ``MissingModelError`` if there is no models folder.
        """
        from lib_uniid.checkpoints.folder import ModelFolder

        with self._lock:
            if self._index is None:
                self._index = ModelFolder(self.models_folder)
            return self._index

    @property
    def models(self) -> Models:
        """The networks of a generation, on the device."""
        from lib_uniid.models import Models

        with self._lock:
            if self._models is None:
                self._models = Models(
                    folder=self._read_again(),
                    device=self.device,
                    cache=self.cache,
                    notify=self.notify,
                    room=self._room,
                )
            return self._models

    def models_beside(self) -> Models:
        """Networks on the CPU for work beside a generation. They are not kept: they take gigabytes."""
        import torch

        from lib_uniid.models import Models

        index = self._read_again()
        return Models(folder=index, device=torch.device("cpu"), cache=self.cache, notify=self.notify)

    @property
    def detector(self) -> Registered[FaceDetector]:
        """The declaration of the face detector; ``ConfigError`` if the chosen one is not there."""
        return face_detector(self._detector)

    @property
    def finder(self) -> Finder:
        """Detects faces and makes their ID embeddings, on the CPU; shared by all.

        ``ConfigError`` if the chosen detector is not there, ``PluginError`` if that of a plugin fails.
        """
        from lib_uniid.guards import guarded_finder

        with self._lock:
            declared = self.detector
            if declared not in self._finders:
                self.notify("loading the face detector")
                index = self._read_again()
                self._finders[declared] = guarded_finder(
                    partial(declared.value.open, index), plugin=declared.plugin, name=declared.value.name
                )
            return self._finders[declared]

    @property
    def check(self) -> Check:
        """The check of the result; errors as for :attr:`finder`."""
        from lib_uniid.guards import guarded_check

        declared = scorer(self._check)
        return guarded_check(declared.value.load, plugin=declared.plugin, name=declared.value.name)

    def refresh(self) -> None:
        """Read the models folder again. If its files have changed, the networks are dropped.

        Raises ``MissingModelError`` if there is no models folder.
        """
        self._read_again()

    def drop_networks(self) -> None:
        """Drop the index and all networks, and free their memory; the next use opens the files again."""
        with self._lock:
            self._index = self._models = None
            self._finders.clear()
        self._free()

    def _read_again(self) -> ModelFolder:
        """Read the folder and return the index. Call it before networks are opened: files can change."""
        from lib_uniid.checkpoints.folder import ModelFolder

        with self._lock:
            before, self._index = self._index, ModelFolder(self.models_folder)
            if before is not None and before.files != self._index.files:
                self._models = None
                self._finders.clear()
                self._free()
            return self._index
