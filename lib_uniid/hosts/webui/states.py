"""What is known of each generation that goes on, by its processing object."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_uniid.api.request import Request
from lib_uniid.hosts.webui.jobs import CellNumber, Job

if TYPE_CHECKING:
    from lib_uniid.hosts.webui.generation import Generation
else:  # imported when it is needed, and not to say what it is
    Generation = Any


@dataclass(slots=True, kw_only=True, eq=False)
class GenerationState:
    """What is known of one processing object; ``sampled`` says whether people were ever put on for it.

    ``failure`` is a sentence and no exception, whose traceback would keep the processing object alive; so is
    ``spoiled``, which says that what was sampled is no picture.
    ``called`` says that the hooks on the UNet were called, in whatever pass.
    ``job`` has what is told of all its pictures, and ``place`` is that of this one in the job. ``inner`` says
    that it began in the middle of another generation of the same comments.
    """

    request: Request | None = None
    generation: Generation | None = None
    failure: str | None = None
    sampled: bool = False
    called: bool = False
    spoiled: str | None = None
    job: Job = field(default_factory=Job)
    place: CellNumber | None = None
    inner: bool = False

    @property
    def refused(self) -> str | None:
        """Why there may be no picture."""
        plain = self.request is not None and self.request.fallback == "plain"
        return self.spoiled or (None if plain else self.failure)

    @property
    def engaged(self) -> bool:
        """Whether there is anything to put on, or to refuse."""
        return self.request is not None or self.failure is not None


class GenerationStates:
    """GenerationStates by the identity of their processing objects.

    These cannot be hashed, and shallow copies of them are made, so nothing can be kept on them either. An
    state ends with its object, and ``ended`` is told.
    """

    def __init__(self, ended: Callable[[GenerationState], None]) -> None:
        self._entries: dict[int, tuple[weakref.ref[Any], GenerationState]] = {}
        self._ended = ended

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, p: Any) -> GenerationState | None:
        reference, state = self._entries.get(id(p), (None, None))
        return state if reference is not None and reference() is p else None

    def put(self, p: Any, state: GenerationState) -> None:
        key = id(p)

        def drop(ended: weakref.ref[Any]) -> None:
            if key in self._entries and self._entries[key][0] is ended:  # the number may be in use again
                self._ended(self._entries.pop(key)[1])

        self._entries[key] = weakref.ref(p, drop), state

    def drop(self, p: Any) -> None:
        if self.get(p) is not None:
            del self._entries[id(p)]
