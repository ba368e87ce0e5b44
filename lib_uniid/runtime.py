"""What the WebUI, the page and the command line share: one models folder, and what is loaded from it.

Made when the WebUI starts, so whatever is heavy is imported when it is first asked for.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import device as Device

    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.cache import EncodingCache
    from lib_uniid.faces.detection import FaceFinder
    from lib_uniid.faces.seen import SeenFaces
    from lib_uniid.library.store import Library
    from lib_uniid.models import Models
else:
    Device = EncodingCache = FaceFinder = Library = ModelFolder = Models = SeenFaces = Any


def free_memory() -> None:
    """Give memory that nothing uses back to the system and to the graphics card."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # a graphics card that failed for good
            return


class Runtime:
    """A models folder, its index, its library, and the networks, each loaded once and kept.

    Several threads may use it at once: the panel looks for faces beside a generation.

    Args:
        models_folder: usually a WebUI's ``models``.
        device: names the device for the encoders, as torch writes it; asked once, when it is first needed.
        room: entered while the encoders are on the device; a host makes room there, and takes it back after.
        free: gives memory back after networks are dropped.
        notify: is told what is being loaded, in a few words.
        library: the folder of enrolled people, where it is not below the models.
        cache: the folder of encodings, where it is not beside the models.
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
    ) -> None:
        self.models_folder, self.notify = models_folder, notify
        self._device, self._room, self._free = device, room, free
        self._library, self._cache = library, cache
        self._lock = threading.RLock()
        self._index: ModelFolder | None = None
        self._models: Models | None = None
        self._finder: FaceFinder | None = None
        self._seen: SeenFaces | None = None

    @property
    def library(self) -> Library:
        """The enrolled people."""
        from lib_uniid.library.store import Library

        return Library(folder=self._library or self.models_folder / "uniid" / "library")

    @property
    def cache(self) -> EncodingCache:
        """Encodings of pictures; beside the models, or elsewhere where that folder is read-only."""
        from lib_uniid.caches import beside
        from lib_uniid.encoders.cache import EncodingCache

        return EncodingCache(folder=self._cache or beside(self.models_folder / "uniid" / "cache"))

    @property
    def seen(self) -> SeenFaces:
        """Faces that were found in pictures, in the panel or for a generation."""
        from lib_uniid.faces.seen import SeenFaces

        with self._lock:
            if self._seen is None:
                self._seen = SeenFaces()
            return self._seen

    @cached_property
    def device(self) -> Device:
        """Where the encoders work."""
        import torch

        return torch.device(self._device())

    @property
    def index(self) -> ModelFolder:
        """The model files that there are, as of the last look at the disk.

        Raises ``MissingModelError`` where there is no models folder.
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
                    folder=self._look_again(),
                    device=self.device,
                    cache=self.cache,
                    notify=self.notify,
                    room=self._room,
                )
            return self._models

    def models_beside(self) -> Models:
        """Networks on the processor for work beside a generation. They are not kept: they take gigabytes."""
        import torch

        from lib_uniid.models import Models

        index = self._look_again()
        return Models(folder=index, device=torch.device("cpu"), cache=self.cache, notify=self.notify)

    @property
    def finder(self) -> FaceFinder:
        """Finds faces and makes their ID embeddings, on the processor; one for all."""
        from lib_uniid.declarations import face_detectors
        from lib_uniid.plugins import plugins

        with self._lock:
            if self._finder is None:
                self.notify("loading the face finder")
                declared, index = next(iter(face_detectors().values())), self._look_again()
                with plugins().guarding(declared.plugin, f"opening the face detector {declared.value.name}"):
                    self._finder = declared.value.open(index)
            return self._finder

    def refresh(self) -> None:
        """Look at the disk again. Networks whose files have changed are dropped, others are kept.

        Raises ``MissingModelError`` where there is no models folder.
        """
        self._look_again()

    def forget(self) -> None:
        """Drop the index and all networks, and free their memory: the next use opens everything anew."""
        with self._lock:
            self._index = self._models = self._finder = None
        self._free()

    def _look_again(self) -> ModelFolder:
        """The index as of now. Networks are opened after another look: files may have come since the last."""
        from lib_uniid.checkpoints.folder import ModelFolder

        with self._lock:
            before, self._index = self._index, ModelFolder(self.models_folder)
            if before is not None and before.files != self._index.files:
                self._models = self._finder = None
                self._free()
            return self._index
