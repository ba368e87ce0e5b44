"""The published files: purpose, source, licence and format of each."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lib_uniid.checkpoints.format import Format
from lib_uniid.errors import PluginError
from lib_uniid.plugins import plugins, required

DETECTOR, RECOGNISER = "face detector", "face recogniser"
"""Roles of the ONNX files of a pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file to download.

    Attributes:
        path: inside the source's repository on the hub.
        name: its local name; for an archive, the name until it is unpacked.
        url: its address, if it is not on the hub.
        sha256: of the published file; None if unknown, then the server's statement is used.
        members: needed files of an archive, with their sha256.
    """

    path: str
    name: str
    url: str | None = None
    sha256: str | None = None
    members: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file or folder that a user needs.

    Attributes:
        name: as in ``ModelFolder.find``.
        purpose: the function that needs it.
        repository: on the Hugging Face hub, or a project's releases; empty if it is not published.
        path: inside the repository.
        placed: its usual folder below the models folder; it is found by content anywhere there.
        folders: names of other folders that usually have it, which are searched early.
        size: bytes of the published file, None if unknown.
        about: its size as text, if ``size`` is unknown.
        sha256: of the published file, None if unknown.
        licence: of the weights, not of any code.
        note: a remark for the user.
        needed: whether UniID needs it to work at all.
        limits: whether the panel lacks functions without it, though it is not needed.
        pieces: the files to download; empty if that is the user's choice.
        format: the format of a single weights file, of the same name; None for folders and checkpoints.
        pack: how well a folder of ONNX files serves, from the roles of its files (``DETECTOR`` or
            ``RECOGNISER``) by their names; of several folders the highest number is taken, and 0 is none.
    """

    name: str
    purpose: str
    repository: str
    path: str
    placed: str
    licence: str
    folders: tuple[str, ...] = ()
    size: int | None = None
    about: str = ""
    sha256: str | None = None
    note: str = ""
    needed: bool = True
    limits: bool = False
    pieces: tuple[Piece, ...] = ()
    format: Format | None = None
    pack: Callable[[Mapping[str, str]], int] = lambda roles: 0

    @property
    def address(self) -> str:
        """The address of its repository; empty if it is not published."""
        if not self.repository:
            return ""
        elsewhere = any(piece.url for piece in self.pieces)
        return f"https://{'github.com' if elsewhere else 'huggingface.co'}/{self.repository}"

    def to_get(self, root: Path) -> str:
        """One line for a manual download: name, purpose, size, file, address, and target folder."""
        size = self.about if self.size is None else f"{self.size / 1e6:.0f} MB"
        origin = f"from {self.address} " if self.repository else "(not published, made by training) "
        return f"{self.name} ({self.purpose}), {size}: {self.path} {origin}into {root / self.placed}"


def whole(path: str, sha256: str | None = None) -> Piece:
    """A file of the hub that keeps its name."""
    return Piece(path=path, name=path.rpartition("/")[2], sha256=sha256)


def sources() -> tuple[Source, ...]:
    """All registered files, the built-in ones first."""
    found = plugins().registered("register_checkpoint_formats", Source)
    return tuple(one.value for one in found.values())


def packs(roles: Mapping[str, str]) -> dict[str, int]:
    """How well a folder of ONNX files with these roles serves, by the names of the sources that it serves.

    A plugin whose ``pack`` raises or gives no number is switched off, and its sources are left out.
    """
    found: dict[str, int] = {}
    for name, one in plugins().registered("register_checkpoint_formats", Source).items():
        with suppress(PluginError), plugins().guarding(one.plugin, f"recognising files of {name}"):
            if serves := required(int, one.value.pack(roles)):
                found[name] = serves
    return found


def source(name: str) -> Source:
    """The row of the table; ``name`` must be in it."""
    return next(row for row in sources() if row.name == name)
