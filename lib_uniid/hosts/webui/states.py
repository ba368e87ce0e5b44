"""The state of each running generation, by its processing object."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_uniid.api.request import Request
from lib_uniid.hosts.webui.jobs import CellNumber, Job

if TYPE_CHECKING:
    from lib_uniid.hosts.webui.generation import Generation
else:  # imported on first use
    Generation = Any


@dataclass(slots=True, kw_only=True, eq=False)
class GenerationState:
    """The state of one processing object.

    ``failure`` is why identities could not be applied, ``invalid`` why the sampled result is not a valid
    picture. Both are sentences: the traceback of an exception would keep the processing object alive.
    ``injected`` says whether identities were ever injected for it, ``called`` whether the hooks on the UNet
    were called in any pass. ``job`` has the results of all its pictures, ``place`` is the number of this
    generation in it. ``nested`` says that it began inside another generation with the same comments.
    """

    request: Request | None = None
    generation: Generation | None = None
    failure: str | None = None
    injected: bool = False
    called: bool = False
    invalid: str | None = None
    job: Job = field(default_factory=Job)
    place: CellNumber | None = None
    nested: bool = False

    @property
    def refused(self) -> str | None:
        """Why the generation must fail; None if it may continue."""
        plain = self.request is not None and self.request.fallback == "plain"
        return self.invalid or (None if plain else self.failure)

    @property
    def active(self) -> bool:
        """Whether identities are to be injected, or the generation may have to fail."""
        return self.request is not None or self.failure is not None


class GenerationStates:
    """The states of processing objects, by object identity.

    The objects have no hash, so they cannot be dict keys. Hosts copy them, so a state cannot be an attribute.
    A state ends with its object, and ``ended`` is called then.
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
            if key in self._entries and self._entries[key][0] is ended:  # another object may have this id now
                self._ended(self._entries.pop(key)[1])

        self._entries[key] = weakref.ref(p, drop), state

    def drop(self, p: Any) -> None:
        if self.get(p) is not None:
            del self._entries[id(p)]
