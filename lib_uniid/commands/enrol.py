"""``uniid enrol``: remember a person from pictures of them."""

from argparse import Namespace

from lib_uniid.commands import Outcome
from lib_uniid.commands.shared import bar, face_result, library, reference, studio
from lib_uniid.errors import ConfigError
from lib_uniid.library.names import checked


def run(options: Namespace) -> Outcome:
    name, people = checked(options.name), library(options)
    if name in people.names() and not options.replace:
        raise ConfigError(f"{name!r} is enrolled already; choose another name, or add --replace")
    point = _point(options.point)
    references = [
        reference(argument, number=options.face, point=point, largest=options.largest)
        for argument in options.pictures
    ]
    with bar(f"enrolling {name}") as progress:
        person, seen = studio(options).enrol(name, references, progress=progress)
    people.save(person, replace=options.replace)
    faces = [{"picture": ref.label, **face_result(one)} for ref, one in zip(references, seen, strict=True)]
    words = [f"{name} is enrolled from {len(faces)} picture{'s' * (len(faces) > 1)}"]
    words += [f"  {face['picture']}: {advice}" for face in faces for advice in face["advice"]]
    return Outcome(result={"name": name, "references": faces}, words=words)


def _point(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"a point is written as X,Y in pixels, got {text!r}") from None
    return x, y
