"""Enrols a person from uploaded pictures; imported on the first enrolment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from lib_uniid.errors import ConfigError
from lib_uniid.faces.picture import load_picture
from lib_uniid.faces.same import duplicates
from lib_uniid.identity_pipeline import IdentityPipeline, Reference
from lib_uniid.library.names import checked
from lib_uniid.library.store import Library, also_enrolled
from lib_uniid.ui import html
from lib_uniid.ui.background import Report, reports
from lib_uniid.ui.form import Upload
from lib_uniid.ui.uploads import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Steps done and total steps; the last one has advice on the pictures."""

    step: int
    steps: int
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Enrols people in ``library`` with the encoder of ``method``, or of the default method."""

    pipeline: IdentityPipeline
    library: Library
    uploads: Uploads
    method: str | None = None

    def enrol(
        self, name: str, pictures: Sequence[Upload], *, add: bool, force: bool = False
    ) -> Iterator[Saving]:
        """Enrol a person under a name, or with ``add`` add the pictures to the person of that name.

        Raises a :class:`lib_uniid.errors.UniIDError`, and writes nothing in that case. ``force`` accepts
        pictures that seem to show different people.
        """
        references = self._references(pictures)
        name = checked(name)
        if add == (name not in self.library.names()):
            raise ConfigError(
                f"no person named {name!r} is in the library; save the person first"
                if add
                else f"the library already has a person named {name!r}; type another name"
            )

        def work(report: Report) -> None:
            person, seen = self.pipeline.enrol(
                name,
                references,
                progress=lambda step, steps: report(Saving(step=step, steps=steps)),
                force=force,
                method=self.method,
            )
            notes: list[str] = []
            if add:
                self.library.extend(person, force=force, notify=notes.append)
            else:
                self.library.save(person, notify=notes.append)
            labels = [reference.label for reference in references]
            advice = [
                f"{label}: {sentence}"
                for label, one in zip(labels, seen, strict=True)
                for sentence in one.quality.advice
            ]
            advice += [*duplicates(labels, seen), *also_enrolled(self.library, person), *notes]
            report(Saving(step=len(seen), steps=len(seen), advice=tuple(advice)))

        yield Saving(step=0, steps=len(references))
        for (saving,) in reports(work):
            yield saving

    def _references(self, pictures: Sequence[Upload]) -> list[Reference]:
        if not pictures:
            raise ConfigError("no pictures of this person are uploaded; upload at least one")
        if choices := html.open_choices(pictures):
            raise ConfigError("; ".join(choices))
        return [
            Reference(
                picture=partial(load_picture, self.uploads.picture(one.key), one.name),
                label=one.name,
                digest=one.key,
                number=one.face,
            )
            for one in pictures
        ]
