"""What the panel says above its controls: who is enrolled, what the checkpoint is, which files are missing.

Imported at the WebUI's start; whatever is heavy is imported when it is first asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_uniid import installation
from lib_uniid.methods import registry
from lib_uniid.plugins import plugins
from lib_uniid.runtime import Runtime

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
else:
    ModelFolder = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A model file that is not there, or cannot be used.

    ``needed`` when nothing works without it, ``limits`` when the panel can do less without it.
    """

    name: str
    purpose: str
    file: str
    source: str
    folder: str
    licence: str
    needed: bool
    limits: bool
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the panel says above its controls.

    ``base`` is the kind of the checkpoint in words, and ``fits`` whether people can be applied with it; both
    None where no checkpoint could be read.
    """

    method: str
    checkpoint: str | None
    base: str | None
    fits: bool | None
    packages: tuple[installation.Problem, ...]
    """What has to be installed before anything works."""
    missing: tuple[Missing, ...]
    people: tuple[str, ...]
    presets: tuple[str, ...]
    unused: tuple[tuple[str, str], ...] = ()
    """Files in our folder that are of no use, with what they seem to be."""
    off: tuple[str, ...] = ()
    """Plugins that are switched off, a sentence each."""
    knows: str | None = None
    """What the face models know, where it is less than photographs."""

    @property
    def lacks(self) -> tuple[Missing, ...]:
        """What has to be there before people can be applied."""
        return tuple(one for one in self.missing if one.needed)

    @property
    def limits(self) -> tuple[Missing, ...]:
        """What the panel can do without, and does less."""
        return tuple(one for one in self.missing if one.limits)


def status_of(runtime: Runtime, checkpoint: Path | None, presets: tuple[str, ...]) -> Status:
    """What there is, as of the runtime's index; people and presets as they are now."""
    from lib_uniid.faces.domain import note_of

    index = runtime.index
    base, fits = (None, None) if checkpoint is None else _kind(index, checkpoint)
    return Status(
        method=registry.default(),
        checkpoint=None if checkpoint is None else checkpoint.stem,
        base=base,
        fits=fits,
        packages=installation.problems(),
        missing=_missing(index),
        people=tuple(runtime.library.names()),
        presets=presets,
        unused=tuple((one.path.name, one.kind) for one in index.unused()),
        off=tuple(plugins().off.values()),
        knows=note_of(index.look_up("insightface")),
    )


def _missing(index: ModelFolder) -> tuple[Missing, ...]:
    return tuple(
        Missing(
            name=entry.source.name,
            purpose=entry.source.purpose,
            file=entry.source.path,
            source=entry.source.repository,
            folder=str(index.root / entry.source.placed),
            licence=entry.source.licence,
            needed=entry.source.needed,
            limits=entry.source.limits,
            problem=entry.problem,
        )
        for entry in index.report()
        if not entry.found and entry.source.name != "base"
    )


def _kind(index: ModelFolder, checkpoint: Path) -> tuple[str | None, bool | None]:
    """What a checkpoint is by its content, and whether people can be applied with it."""
    from lib_uniid.bases import of_checkpoint

    if checkpoint.is_dir():
        return "a diffusers folder", True
    kind = index.kind(checkpoint)
    return (None, None) if kind is None else (kind, of_checkpoint(kind) is not None)
