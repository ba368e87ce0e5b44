"""The status above the panel's controls: enrolled people, the checkpoint's type, missing files.

Imported when the WebUI starts. Heavy modules are imported on first use.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_uniid import installation
from lib_uniid.declarations import FaceDetector, face_detector
from lib_uniid.errors import ConfigError
from lib_uniid.methods import registry
from lib_uniid.plugins import plugins
from lib_uniid.runtime import Runtime

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import Entry, ModelFolder
else:
    Entry = ModelFolder = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A model file that is missing or cannot be used.

    ``needed``: nothing works without it. ``limits``: some functions do not work without it.
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
    """The status above the panel's controls.

    ``base`` is the type of the checkpoint in words, ``fits`` whether identities can be injected into it.
    Both are None if the type is unknown. ``method`` is the one that works with it, or the default one.
    """

    method: str
    checkpoint: str | None
    base: str | None
    fits: bool | None
    packages: tuple[installation.Problem, ...]
    """Problems of packages; nothing works before they are solved."""
    missing: tuple[Missing, ...]
    people: tuple[str, ...]
    presets: tuple[str, ...]
    unused: tuple[tuple[str, str], ...] = ()
    """Files in UniID's folder that are not used, with their type."""
    off: tuple[str, ...] = ()
    """One sentence for each plugin that is switched off, and for a choice that names none."""
    methods: tuple[str, ...] = ()
    """The names of all methods."""
    choosable: bool = False
    """Whether some base model has several methods."""
    domain_note: str | None = None
    """A sentence on the pictures that the face models are trained for; None for photographs."""

    @property
    def lacks(self) -> tuple[Missing, ...]:
        """Missing files without which identities cannot be injected."""
        return tuple(one for one in self.missing if one.needed)

    @property
    def limits(self) -> tuple[Missing, ...]:
        """Missing files without which some functions do not work."""
        return tuple(one for one in self.missing if one.limits)


def status_of(runtime: Runtime, checkpoint: Path | None, presets: tuple[str, ...]) -> Status:
    """The status by the runtime's index; people and presets are read now."""
    from lib_uniid.faces.domain import note_of
    from lib_uniid.methods import needs

    index = runtime.index
    detector, problems = _detector(runtime)
    entries = index.report()
    found = {one.source.name for one in entries if one.found}
    base, fits, method = (None, None, None) if checkpoint is None else _kind(index, checkpoint)
    method = method or needs.method_of(found, index.families(), detector)
    return Status(
        method=method,
        checkpoint=None if checkpoint is None else checkpoint.stem,
        base=base,
        fits=fits,
        packages=installation.problems(),
        missing=_missing(
            index.root,
            entries,
            needed=needs.needed(method, detector, found),
            unneeded=needs.files_of_others(method, detector),
        ),
        people=tuple(runtime.library.names()),
        presets=presets,
        methods=tuple(registry.methods()),
        choosable=registry.choosable(),
        unused=tuple((one.path.name, one.kind) for one in index.unused()),
        off=(*plugins().off.values(), *problems),
        domain_note=note_of(index.look_up(detector.source)),
    )


def _detector(runtime: Runtime) -> tuple[FaceDetector, tuple[str, ...]]:
    """The chosen face detector; the built-in one, and a sentence, where that is not there."""
    try:
        return runtime.detector.value, ()
    except ConfigError as error:
        return face_detector(None).value, (str(error),)


def _missing(
    root: Path, entries: Sequence[Entry], *, needed: Collection[str], unneeded: Collection[str]
) -> tuple[Missing, ...]:
    return tuple(
        Missing(
            name=entry.source.name,
            purpose=entry.source.purpose,
            file=entry.source.path,
            source=entry.source.repository or "not published",
            folder=str(root / entry.source.placed),
            licence=entry.source.licence,
            needed=entry.source.name in needed,
            limits=entry.source.limits and entry.source.name not in unneeded,
            problem=entry.problem,
        )
        for entry in entries
        if not entry.found and entry.source.name != "base"
    )


def _kind(index: ModelFolder, checkpoint: Path) -> tuple[str | None, bool | None, str | None]:
    """A checkpoint's type by its content, whether identities can be injected into it, and its method."""
    folder = checkpoint.is_dir()
    kind = "a diffusers folder" if folder else index.kind(checkpoint)
    base = index.base(checkpoint)
    if base in registry.bases():
        return kind, True, registry.require(None, base).value.name
    return kind, None if kind is None else folder, None
