"""A folder of models: which of the needed files are there, found by content, whatever they are called."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib_uniid.checkpoints.families import BASE_SD15, identify
from lib_uniid.checkpoints.formats import FORMATS, detect
from lib_uniid.checkpoints.header import Header, read_header
from lib_uniid.checkpoints.onnx_header import read_onnx_header
from lib_uniid.checkpoints.places import usual_places
from lib_uniid.checkpoints.sources import SOURCES, Source, source
from lib_uniid.errors import MissingModelError, UniIDError
from lib_uniid.files import sha256 as digest

_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt"})
_MAX_DEPTH = 6
_NO_MODELS = frozenset({"library", "cache"})
"""Folders of ours with people and encodings in them."""
_DIFFUSERS_INDEX = "model_index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the report: an official file and what is there of it.

    ``path`` and ``size`` (bytes, of a folder all its files) are None where nothing is; ``problem`` says why a
    file that is there cannot be used.
    """

    source: Source
    path: Path | None
    size: int | None
    sha256: str | None
    problem: str | None

    @property
    def found(self) -> bool:
        return self.path is not None and self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A file among ours that is used for nothing, and what it seems to be, in words."""

    path: Path
    kind: str


class ModelFolder:
    """Looks through folders once, reading only tables of contents.

    Args:
        root: usually a WebUI's ``models``; what is found in it comes first.
        also: further folders; None takes those of other programs, see ``usual_places``.

    Raises:
        MissingModelError: no such folder.
    """

    def __init__(self, root: Path, also: Iterable[Path] | None = None) -> None:
        if not root.is_dir():
            raise MissingModelError(f"there is no models folder {root}; make it, or name another one")
        self.root = root
        self._found: dict[str, list[Path]] = {}
        for place in (root, *(usual_places(root) if also is None else also)):
            for name, paths in _search(place).items():
                self._found.setdefault(name, []).extend(paths)

    def find(self, name: str) -> Path:
        """The file or folder for a row of ``SOURCES``.

        Raises:
            MissingModelError: not there; says what it is for and where to get it.
            UniIDError: there, but damaged; the reason as ``Format.check`` gives it.
        """
        path = self.look_up(name)
        if path is None:
            row = source(name)
            raise MissingModelError(
                f"no {name} model under {self.root}; get {row.to_get(self.root)}, or use uniid fetch {name}"
                if row.pieces
                else f"no {name} model under {self.root}; get {row.to_get(self.root)}"
            )
        _check(name, path)
        return path

    def look_up(self, name: str) -> Path | None:
        """The same without complaint: None where it is not there, a path where it may be damaged."""
        return min(self._found.get(name, ()), key=lambda path: _preference(name, path), default=None)

    def report(self, *, sha256: bool = False) -> tuple[Entry, ...]:
        """All rows of ``SOURCES``; ``sha256`` reads every file that is found from end to end."""
        return tuple(self._entry(row, sha256) for row in SOURCES)

    def strangers(self) -> tuple[Stranger, ...]:
        """Weights in the folder that is only ours, ``uniid``, that nobody knows what to do with."""
        known = {path for paths in self._found.values() for path in paths}
        own = self.root / "uniid"
        return tuple(
            Stranger(path=path, kind=_kind(path))
            for path in _walk(own, _MAX_DEPTH)
            if path.is_file() and path not in known and path.relative_to(own).parts[0] not in _NO_MODELS
        )

    def _entry(self, row: Source, sha256: bool) -> Entry:
        path = self.look_up(row.name)
        if path is None:
            return Entry(source=row, path=None, size=None, sha256=None, problem=None)
        return Entry(
            source=row,
            path=path,
            size=_size(path),
            sha256=digest(path) if sha256 and path.is_file() else None,
            problem=_problem(row.name, path),
        )


def _search(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in _walk(root, _MAX_DEPTH):
        name = _name_folder(path) if path.is_dir() else _name_file(path)
        if name:
            found.setdefault(name, []).append(path)
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Candidates in a stable order; a diffusers folder is one candidate, not its parts."""
    yield folder
    if depth == 0 or (folder / _DIFFUSERS_INDEX).is_file():
        return
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    for child in children:
        if child.is_dir():
            if not child.name.startswith("."):
                yield from _walk(child, depth - 1)
        elif child.suffix.lower() in _WEIGHTS:
            yield child


def _name_folder(folder: Path) -> str | None:
    if (folder / _DIFFUSERS_INDEX).is_file():
        return "base" if _is_sd15_pipeline(folder / _DIFFUSERS_INDEX) else None
    headers = [read_onnx_header(path) for path in folder.glob("*.onnx")]
    return "insightface" if any(header and header.detects for header in headers) else None


def _is_sd15_pipeline(index: Path) -> bool:
    try:
        return json.loads(index.read_text(encoding="utf-8"))["_class_name"] == "StableDiffusionPipeline"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _name_file(path: Path) -> str | None:
    try:
        header = read_header(path)
    except (UniIDError, OSError):
        return None
    return _name_header(header)


def _kind(path: Path) -> str:
    try:
        return identify(read_header(path))
    except (UniIDError, OSError) as error:
        return f"a file that cannot be read ({error})"


def _name_header(header: Header) -> str | None:
    found = detect(header)
    if found is not None:
        return found.name
    return "base" if identify(header) == BASE_SD15 else None


def _preference(name: str, path: Path) -> tuple[bool, ...]:
    """The lesser the better: whole before damaged, packs that recognise, safetensors before pickles."""
    lacks_recogniser = name == "insightface" and not _recognises(path)
    return _problem(name, path) is not None, lacks_recogniser, path.suffix != ".safetensors"


def _recognises(pack: Path) -> bool:
    headers = [read_onnx_header(path) for path in pack.glob("*.onnx")]
    return any(header and header.recognises for header in headers)


def _check(name: str, path: Path) -> None:
    for candidate in FORMATS:
        if candidate.name == name:
            candidate.check(read_header(path))


def _problem(name: str, path: Path) -> str | None:
    try:
        _check(name, path)
    except UniIDError as error:
        return str(error)
    return None


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
