"""Answers the panel's events from a runtime: who is enrolled, which faces a picture shows, what is missing.

Imported at the WebUI's start; whatever is heavy is imported when it is first asked for.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_uniid import installation
from lib_uniid.errors import MissingModelError, MissingPackageError, UniIDError
from lib_uniid.failures import explain
from lib_uniid.library.names import normal
from lib_uniid.runtime import Runtime
from lib_uniid.ui.background import told
from lib_uniid.ui.form import Upload, uploads_of
from lib_uniid.ui.presets import Presets
from lib_uniid.ui.status import Status, status_of
from lib_uniid.ui.uploads import Crop, Kept, Uploads

if TYPE_CHECKING:
    from lib_uniid.faces.seen import SeenFace
    from lib_uniid.identity_pipeline import IdentityPipeline
    from lib_uniid.library.store import Deleted, Library
    from lib_uniid.ui.enrolment import Saving
else:
    Deleted = IdentityPipeline = Library = SeenFace = Saving = Any


class PanelController:
    """Answers the panel's events; one for both tabs. Networks are the runtime's.

    ``checkpoint`` says which one pictures are made with; None where none is chosen.
    """

    def __init__(self, runtime: Runtime, checkpoint: Callable[[], Path | None]) -> None:
        self.runtime, self.uploads = runtime, Uploads()
        self._checkpoint = checkpoint
        self._faces: dict[str, Crop] = {}  # by id, in memory alone

    @cached_property
    def presets(self) -> Presets:
        """What was kept under names."""
        return Presets(path=self.runtime.models_folder / "uniid" / "presets.json")

    @property
    def library(self) -> Library:
        """The people."""
        return self.runtime.library

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
                    known = self._pipeline().knows
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
        from lib_uniid.identity_pipeline import IdentityPipeline
        from lib_uniid.ui.enrolment import Enrolment

        # Encoders for this once: they take gigabytes, and are on the processor, beside a generation.
        pipeline = IdentityPipeline(self.runtime, beside=True)
        enrolment = Enrolment(pipeline=pipeline, library=self.library, uploads=self.uploads)
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
        deleted = delete(self.library, self.runtime.cache, name)
        self._faces.pop(deleted.id, None)
        self._forget_uploads(embedding)
        return deleted

    def refresh(self) -> None:
        """Look at the disk again: model files may have come, or others taken their places."""
        self.runtime.refresh()

    def status(self) -> Status:
        """What there is, as of the last refresh."""
        return status_of(self.runtime, self._checkpoint(), tuple(self.presets.names()))

    def download(self) -> Iterator[tuple[str, int, int | None]]:
        """Get everything that is missing: a file's name, its bytes so far and in all, again and again.

        ``DownloadError`` says what went wrong; a second try goes on from there.
        """
        from lib_uniid.checkpoints.download import fetch
        from lib_uniid.checkpoints.sources import source

        root = self.runtime.models_folder
        self.refresh()
        for one in self.status().missing:
            if one.problem is None and (one.needed or one.limits):
                yield one.file, 0, None
                yield from told(lambda tell, name=one.name: fetch(source(name), root, progress=tell))

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
        self.runtime.seen.forget(embedding, SAME_PERSON)

    def _see(self, file: Path) -> Upload:
        from lib_uniid.faces.picture import load_picture, read_picture

        data = read_picture(file)
        faces = self._pipeline().faces(
            lambda: load_picture(data, file.name), hashlib.sha256(data).hexdigest()
        )
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

    def _pipeline(self) -> IdentityPipeline:
        """Of which only the face finder is used: it works on the processor, beside a generation."""
        from lib_uniid.identity_pipeline import IdentityPipeline

        return IdentityPipeline(self.runtime)
