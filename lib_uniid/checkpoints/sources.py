"""The published files: what each is for, where it is published, under which licence, and its format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib_uniid.checkpoints.format import Format
from lib_uniid.plugins import plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file to fetch.

    Attributes:
        path: inside the source's repository on the hub.
        name: under which it is kept; of an archive, under which it is kept until it is unpacked.
        url: where it is instead, outside the hub.
        sha256: of the published file, None where not known; a server's own statement is then taken.
        members: files of an archive that are wanted, with their sha256.
    """

    path: str
    name: str
    url: str | None = None
    sha256: str | None = None
    members: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file or folder that a person has to get.

    Attributes:
        name: as in ``ModelFolder.find``.
        purpose: what does not work without it.
        repository: on the Hugging Face hub, or a project's releases.
        path: inside the repository.
        placed: where it is usually kept under the models folder; found by content anywhere below it.
        size: bytes of the published file, None where not known.
        about: its size in words, where only that is known.
        sha256: of the published file, None where not known.
        licence: of the weights, not of any code.
        note: what to know before using it.
        needed: whether nothing works without it.
        limits: whether the panel can do less without it, though it is not needed.
        pieces: what to fetch for it; empty where that is the user's choice.
        format: how a single file of weights is known, of the same name; None for folders and checkpoints.
    """

    name: str
    purpose: str
    repository: str
    path: str
    placed: str
    licence: str
    size: int | None = None
    about: str = ""
    sha256: str | None = None
    note: str = ""
    needed: bool = True
    limits: bool = False
    pieces: tuple[Piece, ...] = ()
    format: Format | None = None

    @property
    def address(self) -> str:
        """Where it is published."""
        elsewhere = any(piece.url for piece in self.pieces)
        return f"https://{'github.com' if elsewhere else 'huggingface.co'}/{self.repository}"

    def to_get(self, root: Path) -> str:
        """One line for a person who gets it: name, purpose, size, file, address, and the folder for it."""
        size = self.about if self.size is None else f"{self.size / 1e6:.0f} MB"
        return (
            f"{self.name} ({self.purpose}), {size}: {self.path} from {self.address} into {root / self.placed}"
        )


def whole(path: str, sha256: str | None = None) -> Piece:
    """A file of the hub that keeps its name."""
    return Piece(path=path, name=path.rpartition("/")[2], sha256=sha256)


def sources() -> tuple[Source, ...]:
    """All files that plugins registered, those that are built in first."""
    found = plugins().registered("register_checkpoint_formats", Source)
    return tuple(one.value for one in found.values())


def source(name: str) -> Source:
    """The row of the table; ``name`` must be in it."""
    return next(row for row in sources() if row.name == name)
