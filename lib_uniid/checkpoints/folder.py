"""A folder of models: which of the needed files exist, found by content and not by name."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lib_uniid import bases
from lib_uniid.bases import Base
from lib_uniid.checkpoints.families import identify
from lib_uniid.checkpoints.formats import detect, formats
from lib_uniid.checkpoints.header import read_header
from lib_uniid.checkpoints.places import usual_places
from lib_uniid.checkpoints.seen import Finding, FindingCache
from lib_uniid.checkpoints.sources import DETECTOR, RECOGNISER, Source, packs, source, sources
from lib_uniid.checkpoints.walking import DIFFUSERS_INDEX, candidates
from lib_uniid.errors import MissingModelError, UniIDError
from lib_uniid.files import sha256 as digest
from lib_uniid.onnx_header import read_onnx_header
from lib_uniid.onnx_values import require_finite

SECONDS = 3.0
"""Seconds of this thread's processor time for reading new files; the rest follows in the next search."""

_NO_MODELS = frozenset({"library", "cache"})
"""UniID's folders of people and encodings."""

_UNREADABLE = "a file that cannot be read"

_MAX_INDEX, _MAX_ONNX_FILES, _MAX_PARTS = 2**20, 32, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the report: a published file and its local state.

    ``path`` and ``size`` (bytes, of a folder all its files) are None if it is missing; ``problem`` is the
    reason why a found file cannot be used, ``unchecked`` lists unchecked weights, a line per file.
    """

    source: Source
    path: Path | None
    size: int | None
    sha256: str | None
    problem: str | None
    unchecked: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        return self.path is not None and self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedFile:
    """An unused file in UniID's folder, and its probable type, as text."""

    path: Path
    kind: str


def require_models(root: Path) -> None:
    """Raise ``MissingModelError`` if the models folder does not exist."""
    if root.is_dir():
        return
    if root.exists():
        raise MissingModelError(f"{root} is not a folder; give the models folder")
    raise MissingModelError(f"models folder {root} not found; make it, or give another one")


class ModelFolder:
    """Searches folders once and reads only headers; a file is read again only after a change.

    Args:
        root: usually a WebUI's ``models``; its files take precedence.
        also: further folders; None: those of other programs, see ``usual_places``.

    Attributes:
        unread: files that were left for the next search, because the time limit was reached.
        files: the state of each file except base checkpoints, for comparison with a later search.

    Raises:
        MissingModelError: the folder does not exist.
    """

    def __init__(self, root: Path, also: Iterable[Path] | None = None) -> None:
        require_models(root)
        self.root = root
        self.unread: list[Path] = []
        self._findings = FindingCache(kinds=tuple(one.name for one in formats()))
        self._found: dict[str, list[Path]] = {}
        self._until = time.thread_time() + SECONDS
        for place in (root, *(usual_places(root) if also is None else also)):
            self._search(place)
        self.files = frozenset(
            (name, *one) for name, paths in self._found.items() if name != "base" for one in _state(paths)
        )
        self._findings.save()

    def find(self, name: str) -> Path:
        """The file or folder for a row of ``sources``.

        Raises:
            MissingModelError: missing; the message has its purpose and its source.
            UniIDError: damaged; the error of ``Format.check``.
        """
        path = self.look_up(name)
        if path is None and self.unread:
            raise MissingModelError(
                f"no {name} model found in {self.root} so far, and {len(self.unread)} files there were not "
                "read yet because of the time limit; try again"
            )
        if path is None:
            row = source(name)
            raise MissingModelError(
                f"no {name} model under {self.root}; get {row.to_get(self.root)}, or run uniid fetch {name}"
                if row.pieces
                else f"no {name} model under {self.root}; get {row.to_get(self.root)}"
            )
        if self._problem(name, path) or not self._findings.is_noted(path):
            _check(name, path)
        return path

    def look_up(self, name: str) -> Path | None:
        """The same without errors: None if it is missing; the path may be of a damaged file."""
        return min(self._found.get(name, ()), key=lambda path: self._preference(name, path), default=None)

    def kind(self, path: Path) -> str | None:
        """The type of any checkpoint by its content, as text; None if it cannot be read."""
        kind = self._findings.look(path, _inspect).kind
        self._findings.save()
        return None if kind.startswith(_UNREADABLE) else kind

    def base(self, path: Path) -> Base | None:
        """The base family of a checkpoint or a diffusers folder by its content; None for all others."""
        return _base_of(path / DIFFUSERS_INDEX) if path.is_dir() else bases.of_checkpoint(self.kind(path))

    def families(self) -> frozenset[Base]:
        """The base families of all checkpoints that the stand-alone host loads."""
        return frozenset(base for path in self._found.get("base", ()) if (base := self.base(path)))

    def report(self, *, sha256: bool = False, values: bool = False) -> tuple[Entry, ...]:
        """All rows of ``sources``; ``sha256`` reads all found files completely.

        ``values`` also reads them, once until a file changes and only if torch is installed; NaN and infinite
        values are a problem.
        """
        entries = tuple(self._entry(row, sha256, values) for row in sources())
        self._findings.save()
        return entries

    def unused(self) -> tuple[UnusedFile, ...]:
        """Unused weights in UniID's own folder, ``uniid``."""
        known = {path for paths in self._found.values() for path in paths} | set(self.unread)
        own = self.root / "uniid"
        return tuple(
            UnusedFile(path=path, kind=self._findings.look(path, _inspect).kind)
            for path in candidates(own)
            if path.is_file() and path not in known and path.relative_to(own).parts[0] not in _NO_MODELS
        )

    def _search(self, place: Path) -> None:
        found: dict[str, list[Path]] = {}
        for path in candidates(place):
            for name in self._names_of_folder(path) if path.is_dir() else self._names_of_file(path):
                found.setdefault(name, []).append(path)
        for name, paths in found.items():
            self._found.setdefault(name, []).extend(sorted(paths))

    def _names_of_file(self, path: Path) -> list[str]:
        finding = self._findings.known(path)
        if finding is None and time.thread_time() > self._until:
            self.unread.append(path)
            return []
        name = (finding or self._findings.look(path, _inspect)).name
        return [name] if name else []

    def _names_of_folder(self, folder: Path) -> list[str]:
        if os.path.isfile(folder / DIFFUSERS_INDEX):
            return ["base"] if _base_of(folder / DIFFUSERS_INDEX) in bases.STANDALONE else []
        roles = self._roles(folder)
        return [*packs(roles)] if roles else []

    def _roles(self, pack: Path) -> dict[str, str]:
        """The roles of a pack's detectors and recognisers, by the names of their files."""
        return {path.name: role for path, role in self._onnx(pack).items()}

    def _onnx(self, pack: Path) -> dict[Path, str]:
        """The detectors and recognisers of a pack."""
        files = islice(pack.glob("*.onnx"), _MAX_ONNX_FILES)
        names = {path: self._findings.look(path, _look_at_onnx, "#onnx").name for path in files}
        return {path: name for path, name in names.items() if name}

    def _problem(self, name: str, path: Path) -> str | None:
        return self._findings.look(path, _inspect).problem if path.is_file() else None

    def _values(self, path: Path) -> list[tuple[Path, Finding]]:
        """Findings about the values in a file, or in the files of a pack up to the first with a problem."""
        found: list[tuple[Path, Finding]] = []
        with suppress(ImportError):
            for one in [path] if path.is_file() else self._onnx(path):
                found.append((one, self._findings.look(one, _check_values, "#values")))
                if found[-1][1].problem:
                    break
        return found

    def _preference(self, name: str, path: Path) -> tuple[bool, int, int, bool]:
        """Sort key: whole before damaged, base models in the order of their families, the packs that serve
        best first, safetensors before pickles.
        """
        serves = packs(self._roles(path)).get(name, 0) if path.is_dir() else 0
        family = bases.BASES.index(base) if name == "base" and (base := self.base(path)) else 0
        return self._problem(name, path) is not None, family, -serves, path.suffix != ".safetensors"

    def _entry(self, row: Source, sha256: bool, values: bool) -> Entry:
        path = self.look_up(row.name)
        if path is None:
            return Entry(source=row, path=None, size=None, sha256=None, problem=None)
        problem = self._problem(row.name, path)
        looked = self._values(path) if values and not problem else []
        return Entry(
            source=row,
            path=path,
            size=_size(path),
            sha256=digest(path) if sha256 and path.is_file() else None,
            problem=problem or next((one.problem for _, one in looked if one.problem), None),
            unchecked=tuple(
                f"{file.name}: weights not checked: {one.unchecked}" for file, one in looked if one.unchecked
            ),
        )


def _inspect(path: Path) -> Finding:
    try:
        header = read_header(path)
    except (UniIDError, OSError) as error:
        return Finding(name=None, kind=f"{_UNREADABLE} ({error})")
    kind, found = identify(header), detect(header)
    if found is None:
        return Finding(name="base" if bases.of_checkpoint(kind) in bases.STANDALONE else None, kind=kind)
    try:
        found.check(header)
    except UniIDError as error:
        return Finding(name=found.name, kind=kind, problem=str(error))
    return Finding(name=found.name, kind=kind)


def _check_values(path: Path) -> Finding:
    try:
        if path.suffix == ".onnx":
            return Finding(name=None, kind="", unchecked=require_finite(path))
        from lib_uniid.checkpoints.reading import read

        read(path)
    except (UniIDError, OSError) as error:
        return Finding(name=None, kind="", problem=str(error))
    return Finding(name=None, kind="")


def _look_at_onnx(path: Path) -> Finding:
    header = read_onnx_header(path)
    if header is None:
        return Finding(name=None, kind="")
    return Finding(name=DETECTOR if header.detects else RECOGNISER if header.recognises else None, kind="")


def _state(paths: Iterable[Path]) -> Iterator[tuple[Path, int, int]]:
    """Each file, of folders the ONNX files in them, with its size in bytes and its time in nanoseconds."""
    for path in paths:
        for file in [path] if path.is_file() else islice(path.glob("*.onnx"), _MAX_ONNX_FILES):
            with suppress(OSError):
                status = file.stat()
                yield file, status.st_size, status.st_mtime_ns


def _base_of(index: Path) -> Base | None:
    try:
        with index.open(encoding="utf-8") as file:
            return bases.of_pipeline(json.loads(file.read(_MAX_INDEX))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _check(name: str, path: Path) -> None:
    for candidate in formats():
        if candidate.name == name:
            candidate.check(read_header(path))


def _size(path: Path) -> int:
    files = (
        [path] if path.is_file() else islice((one for one in path.rglob("*") if one.is_file()), _MAX_PARTS)
    )
    return sum(file.stat().st_size for file in files)
