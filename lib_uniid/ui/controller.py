"""Answers the panel's events from a runtime: enrolled people, faces in uploaded pictures, missing files.

Imported when the WebUI starts. Heavy modules are imported on first use.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_uniid import installation
from lib_uniid.errors import MissingModelError, MissingPackageError, UniIDError
from lib_uniid.failures import explain
from lib_uniid.library.names import normal
from lib_uniid.methods import registry
from lib_uniid.methods.registry import MethodNumber
from lib_uniid.runtime import Runtime
from lib_uniid.ui.background import reports
from lib_uniid.ui.form import ANY_METHOD, Upload, uploads_of
from lib_uniid.ui.presets import Presets
from lib_uniid.ui.status import Status, status_of
from lib_uniid.ui.uploads import Crop, Kept, Uploads

if TYPE_CHECKING:
    from lib_uniid.faces.detected import DetectedFace
    from lib_uniid.identity_pipeline import IdentityPipeline
    from lib_uniid.library.store import Deleted, Library
    from lib_uniid.ui.enrolment import Saving
else:
    Deleted = IdentityPipeline = Library = DetectedFace = Saving = Any


class PanelController:
    """Answers the panel's events; txt2img and img2img share one. The runtime holds the networks.

    ``checkpoint`` returns the selected checkpoint, or None if none is selected.
    """

    def __init__(self, runtime: Runtime, checkpoint: Callable[[], Path | None]) -> None:
        self.runtime, self.uploads = runtime, Uploads()
        self._checkpoint = checkpoint
        self._faces: dict[str, Crop] = {}  # by identity id; kept in memory only

    @cached_property
    def presets(self) -> Presets:
        """The saved presets and those of methods."""
        path = self.runtime.models_folder / "uniid" / "presets.json"
        return Presets(path=path, of_methods=registry.preset_titles())

    def preset_numbers(self, name: str, method: str) -> Mapping[str, float] | None:
        """What a preset of methods sets for one, or for ``ANY_METHOD``; None for a saved preset."""
        if name not in registry.preset_titles():
            return None
        return registry.require(self._method(method)).value.preset(name).numbers

    @property
    def library(self) -> Library:
        """The enrolled people."""
        return self.runtime.library

    def names(self) -> list[str]:
        """The names of all enrolled people."""
        return self.library.names()

    def name_of(self, wanted: str) -> str | None:
        """The name for an id; None if no enrolled person has this id."""
        return next((name for name, key in self.library.ids().items() if key == wanted), None)

    def see(self, files: Iterable[Path]) -> tuple[list[Upload], list[str]]:
        """Store uploaded pictures and detect their faces; returns the uploads and notes for the user.

        A picture with one face needs no choice. If faces cannot be detected, the picture is stored without
        a chosen face, and the generation chooses.
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
                    domain_note = self._pipeline().domain_note
                    notes.append(f"no face found in {file.name}; {domain_note or 'use another picture'}")
            except MissingModelError as error:
                seen.append(self._keep(read_picture(file), file, ()))
                notes.append(f"faces cannot be detected: {error}")
            except Exception as error:
                notes.append(explain(error, "reading an uploaded picture"))
        return seen, list(dict.fromkeys(notes))

    def enrol(
        self,
        name: str,
        pictures: Sequence[Upload],
        *,
        add: bool = False,
        force: bool = False,
        method: str = ANY_METHOD,
    ) -> Iterator[Saving]:
        """Enrol a person in the library for a method, or ``ANY_METHOD``.

        See :meth:`lib_uniid.ui.enrolment.Enrolment.enrol`.
        """
        installation.require()
        from lib_uniid.identity_pipeline import IdentityPipeline
        from lib_uniid.ui.enrolment import Enrolment

        # These encoders run on the CPU, so a generation can run at the same time. They take gigabytes
        # and are dropped afterwards.
        pipeline = IdentityPipeline(self.runtime, beside=True)
        enrolment = Enrolment(
            pipeline=pipeline, library=self.library, uploads=self.uploads, method=self._method(method)
        )
        return self._enrolled(name, pictures, enrolment.enrol(name, pictures, add=add, force=force))

    def _enrolled(self, name: str, pictures: Sequence[Upload], saving: Iterator[Saving]) -> Iterator[Saving]:
        """Yield from ``saving``, then remember the chosen face for the person's tab."""
        yield from saving
        key = self.library.ids().get(normal(name))
        if key is not None and (face := self._chosen_face(pictures)) is not None:
            self._faces[key] = face

    def face_of(self, name: str, uploads: str) -> Crop | None:
        """The face to show on a person's tab: from the uploads, or from an enrolment in this process."""
        with suppress(UniIDError):
            if uploads:
                return self._chosen_face(uploads_of(uploads))
        ids = self.library.ids() if self._faces else {}
        self._faces = {key: face for key, face in self._faces.items() if key in ids.values()}
        return self._faces.get(ids.get(normal(name), ""))

    def _chosen_face(self, uploads: Sequence[Upload]) -> Crop | None:
        """The first chosen face in these pictures."""
        chosen = [one for one in uploads if one.face is not None]
        return self.uploads.get(chosen[0].key).faces[(chosen[0].face or 1) - 1] if chosen else None

    def delete(self, name: str) -> Deleted:
        """Delete a person: the features move to the bin; encodings, uploads and crops are erased.

        See :func:`lib_uniid.library.forgetting.delete`. If the person's file is damaged, it has no ID
        embedding to compare uploads with, and all uploads are erased.
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
        """Read the models folder again."""
        self.runtime.refresh()

    def status(self) -> Status:
        """The status as of the last refresh."""
        return status_of(self.runtime, self._checkpoint(), tuple(self.presets.names()))

    def method_number(self, method: str, name: str) -> MethodNumber | None:
        """What a method, or ``ANY_METHOD``, decides of a number; None if it reads no such number."""
        return registry.require(self._method(method)).value.number(name)

    def method_choices(self, method: str) -> tuple[str, ...]:
        """The names of the choices that a method, or ``ANY_METHOD``, reads."""
        return registry.require(self._method(method)).value.choices

    def _method(self, chosen: str) -> str:
        """The name of the chosen method, or of the one for the selected checkpoint."""
        return self.status().method if chosen in (ANY_METHOD, "") else chosen

    def download(self) -> Iterator[tuple[str, int, int | None]]:
        """Download all missing files; yields a file's name, its bytes so far and its size in bytes.

        Raises ``DownloadError``. A second call resumes the download.
        """
        from lib_uniid.checkpoints.download import fetch
        from lib_uniid.checkpoints.sources import source

        root = self.runtime.models_folder
        self.refresh()
        for one in self.status().missing:
            if one.problem is None and (one.needed or one.limits):
                yield one.file, 0, None
                yield from reports(lambda report, name=one.name: fetch(source(name), root, progress=report))

    def _forget_uploads(self, embedding: Any) -> None:
        """Erase uploads with a face of this ID embedding, or all uploads if it is None."""
        from lib_uniid.config import SAME_PERSON
        from lib_uniid.ui import tiles

        for kept in self.uploads.forget(lambda one: embedding is None or one.shows(embedding, SAME_PERSON)):
            for crop in kept.faces:
                tiles.remove(crop)
            for file in kept.files:
                with suppress(OSError):  # gradio may have deleted it
                    file.unlink()
        self.runtime.detected.forget(embedding, SAME_PERSON)

    def _see(self, file: Path) -> Upload:
        from lib_uniid.faces.picture import load_picture, read_picture

        data = read_picture(file)
        faces = self._pipeline().faces(
            lambda: load_picture(data, file.name), hashlib.sha256(data).hexdigest()
        )
        return self._keep(data, file, faces)

    def _keep(self, data: bytes, file: Path, faces: Sequence[DetectedFace]) -> Upload:
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
        """Only its face detector is used, which runs on the CPU beside a generation."""
        from lib_uniid.identity_pipeline import IdentityPipeline

        return IdentityPipeline(self.runtime)
