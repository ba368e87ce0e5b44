"""What the panel has to know of the machine: who is enrolled, which faces a picture shows, what is missing.

Imported at the WebUI's start; whatever is heavy is imported when it is first asked for.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lib_uniid import installation
from lib_uniid.errors import MissingModelError, MissingPackageError, UniIDError
from lib_uniid.failures import explain
from lib_uniid.library.names import normal
from lib_uniid.methods import registry
from lib_uniid.plugins import plugins
from lib_uniid.ui.background import told
from lib_uniid.ui.form import Upload, uploads_of
from lib_uniid.ui.presets import Presets
from lib_uniid.ui.uploads import Crop, Kept, Uploads

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.cache import EncodingCache
    from lib_uniid.faces.seen import SeenFace, SeenFaces
    from lib_uniid.library.store import Deleted, Library
    from lib_uniid.pipeline import Studio
    from lib_uniid.ui.enrolment import Saving
else:
    Deleted = EncodingCache = ModelFolder = Library = SeenFace = SeenFaces = Studio = Saving = Any


@runtime_checkable
class Place(Protocol):
    """Where the panel is: in a WebUI, or on a page of its own."""

    def models_folder(self) -> Path:
        """Where the user's models are."""
        ...

    def checkpoint(self) -> Path | None:
        """The checkpoint that pictures are made with; None where none is chosen."""
        ...


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


class Backstage:
    """Answers the panel's events; one for both tabs. It keeps a face finder, and no other network."""

    def __init__(self, place: Place) -> None:
        self.place, self.uploads = place, Uploads()
        self._lock = threading.Lock()
        self._studio: Studio | None = None
        self._faces: dict[str, Crop] = {}  # by id, in memory alone

    @cached_property
    def presets(self) -> Presets:
        """What was kept under names."""
        return Presets(path=self.place.models_folder() / "uniid" / "presets.json")

    @cached_property
    def seen(self) -> SeenFaces:
        """Faces that were found in pictures, here or for a generation."""
        from lib_uniid.faces.seen import SeenFaces

        return SeenFaces()

    @property
    def library(self) -> Library:
        """The people."""
        from lib_uniid.library.store import Library

        return Library(folder=self.place.models_folder() / "uniid" / "library")

    def names(self) -> list[str]:
        """All enrolled people."""
        return self.library.names()

    def name_of(self, wanted: str) -> str | None:
        """The name that belongs to an id; None when no enrolled person has it."""
        return next((name for name, key in self.library.ids().items() if key == wanted), None)

    def see(self, files: Iterable[Path]) -> tuple[list[Upload], list[str]]:
        """Keep pictures and look for faces in them; also what should be said about them.

        A picture with one face needs no choice. Where faces cannot be looked for, the picture is kept and
        the choice is left to the generation.
        """
        try:
            installation.require()
        except MissingPackageError as error:
            return [], [str(error)]
        from lib_uniid.faces.picture import read_picture

        seen: list[Upload] = []
        notes: list[str] = []
        for file in files:
            try:
                seen.append(self._see(file))
                if not seen[-1].faces:
                    known = self._finding().knows
                    notes.append(f"{file.name} shows no face; {known or 'use another picture'}")
            except MissingModelError as error:
                seen.append(self._keep(read_picture(file), file, ()))
                notes.append(f"faces cannot be shown yet: {error}")
            except Exception as error:
                notes.append(explain(error, "looking at an uploaded picture"))
        return seen, list(dict.fromkeys(notes))

    def enrol(
        self, name: str, pictures: Sequence[Upload], *, add: bool = False, force: bool = False
    ) -> Iterator[Saving]:
        """Keep a person in the library; see :meth:`lib_uniid.ui.enrolment.Enrolment.enrol`."""
        installation.require()
        from lib_uniid.ui.enrolment import Enrolment

        # A studio for this once: the encoders take gigabytes, and are on the processor, beside a generation.
        enrolment = Enrolment(studio=self._open(), library=self.library, uploads=self.uploads)
        return self._enrolled(name, pictures, enrolment.enrol(name, pictures, add=add, force=force))

    def _enrolled(self, name: str, pictures: Sequence[Upload], saving: Iterator[Saving]) -> Iterator[Saving]:
        """The same, after which the face that is meant is that person's."""
        yield from saving
        key = self.library.ids().get(normal(name))
        if key is not None and (face := self._meant(pictures)) is not None:
            self._faces[key] = face

    def face_of(self, name: str, uploads: str) -> Crop | None:
        """The face to know a person by: out of the uploads, or of those that were enrolled here; or None."""
        with suppress(UniIDError):
            if uploads:
                return self._meant(uploads_of(uploads))
        known = self.library.ids() if self._faces else {}
        self._faces = {key: face for key, face in self._faces.items() if key in known.values()}
        return self._faces.get(known.get(normal(name), ""))

    def _meant(self, uploads: Sequence[Upload]) -> Crop | None:
        """The first face that is meant in these pictures."""
        chosen = [one for one in uploads if one.face is not None]
        return self.uploads.get(chosen[0].key).faces[(chosen[0].face or 1) - 1] if chosen else None

    def delete(self, name: str) -> Deleted:
        """Delete a person: the features go into the bin; encodings, uploads and crops are gone for good.

        See :func:`lib_uniid.library.forgetting.delete`. A damaged file does not say which uploads show the
        person, and all of them go.
        """
        from lib_uniid.library.forgetting import delete

        embedding = None
        with suppress(UniIDError):
            embedding = self.library.load(name).embedding
        deleted = delete(self.library, self._cache(), name)
        self._faces.pop(deleted.id, None)
        self._forget_uploads(embedding)
        return deleted

    def status(self) -> Status:
        """What there is; looks at the disk."""
        from lib_uniid.checkpoints.folder import ModelFolder
        from lib_uniid.faces.domain import note_of

        folder = ModelFolder(self.place.models_folder())
        checkpoint = self.place.checkpoint()
        base, fits = (None, None) if checkpoint is None else _kind(checkpoint)
        return Status(
            method=registry.default(),
            checkpoint=None if checkpoint is None else checkpoint.stem,
            base=base,
            fits=fits,
            packages=installation.problems(),
            missing=_missing(folder),
            people=tuple(self.names()),
            presets=tuple(self.presets.names()),
            unused=tuple((one.path.name, one.kind) for one in folder.unused()),
            off=tuple(plugins().off.values()),
            knows=note_of(folder.look_up("insightface")),
        )

    def download(self) -> Iterator[tuple[str, int, int | None]]:
        """Get everything that is missing: a file's name, its bytes so far and in all, again and again.

        ``DownloadError`` says what went wrong; a second try goes on from there.
        """
        from lib_uniid.checkpoints.download import fetch
        from lib_uniid.checkpoints.sources import source

        root = self.place.models_folder()
        for one in self.status().missing:
            if one.problem is None and (one.needed or one.limits):
                yield one.file, 0, None
                yield from told(lambda tell, name=one.name: fetch(source(name), root, progress=tell))

    def forget(self) -> None:
        """Look at the disk again for the next picture: model files may have come."""
        self._studio = None

    def _forget_uploads(self, embedding: Any) -> None:
        """Of pictures with a face of this ID embedding; of all where it is None."""
        from lib_uniid.config import SAME_PERSON
        from lib_uniid.ui import tiles

        for kept in self.uploads.forget(lambda one: embedding is None or one.shows(embedding, SAME_PERSON)):
            for crop in kept.faces:
                tiles.remove(crop)
            for file in kept.files:
                with suppress(OSError):  # gone with gradio's own clearing up
                    file.unlink()
        self.seen.forget(embedding, SAME_PERSON)

    def _see(self, file: Path) -> Upload:
        from lib_uniid.faces.picture import load_picture, read_picture

        data = read_picture(file)
        picture = load_picture(data, file.name)
        with self._lock:  # the finder's buffers are not for two
            faces = self._finding().faces(picture)
        return self._keep(data, file, faces)

    def _keep(self, data: bytes, file: Path, faces: Sequence[SeenFace]) -> Upload:
        from lib_uniid.ui.tiles import is_upload

        kept = Kept(
            data=data,
            faces=tuple(seen.crop for seen in faces),
            embeddings=tuple(seen.face.embedding for seen in faces if seen.face.embedding is not None),
            files=frozenset([file] if is_upload(file) else []),
        )
        key, name = self.uploads.put(kept), file.name
        return Upload(key=key, name=name, faces=len(faces), face=1 if len(faces) == 1 else None)

    def _finding(self) -> Studio:
        """A studio of which only the face finder is used: it works on the processor, beside a generation."""
        self._studio = self._studio or self._open()
        return self._studio

    def _open(self) -> Studio:
        import torch

        from lib_uniid.checkpoints.folder import ModelFolder
        from lib_uniid.models import Models
        from lib_uniid.pipeline import Studio

        models = Models(
            folder=ModelFolder(self.place.models_folder()),
            device=torch.device("cpu"),
            cache=self._cache(),
            notify=lambda _: None,
        )
        return Studio(models, _no_host, self.seen)

    def _cache(self) -> EncodingCache:
        from lib_uniid.caches import beside
        from lib_uniid.encoders.cache import EncodingCache

        return EncodingCache(folder=beside(self.place.models_folder() / "uniid" / "cache"))


def _missing(folder: ModelFolder) -> tuple[Missing, ...]:
    return tuple(
        Missing(
            name=entry.source.name,
            purpose=entry.source.purpose,
            file=entry.source.path,
            source=entry.source.repository,
            folder=str(folder.root / entry.source.placed),
            licence=entry.source.licence,
            needed=entry.source.needed,
            limits=entry.source.limits,
            problem=entry.problem,
        )
        for entry in folder.report()
        if not entry.found and entry.source.name != "base"
    )


def _kind(checkpoint: Path) -> tuple[str | None, bool | None]:
    """What a checkpoint is by its content, and whether people can be applied with it."""
    from lib_uniid.bases import of_checkpoint
    from lib_uniid.checkpoints.families import identify
    from lib_uniid.checkpoints.header import read_header

    if checkpoint.is_dir():
        return "a diffusers folder", True
    try:
        kind = identify(read_header(checkpoint))
    except (UniIDError, OSError):
        return None, None
    return kind, of_checkpoint(kind) is not None


def _no_host() -> Any:
    raise AssertionError("the panel makes no pictures")
