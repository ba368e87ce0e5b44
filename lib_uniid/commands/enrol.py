"""``uniid enrol``: store a person's face features from pictures."""

from argparse import Namespace

from lib_uniid.commands import Outcome
from lib_uniid.commands.bars import bar
from lib_uniid.commands.inputs import given_picture, library_folder, require_detector, require_encoder
from lib_uniid.errors import ConfigError
from lib_uniid.files import require_writable
from lib_uniid.library.names import checked


def run(options: Namespace) -> Outcome:
    """Inputs and outputs are checked before anything is loaded."""
    name, point, method = checked(options.name), _point(options.point), options.method
    given = [given_picture(text, "a picture") for text in options.pictures]
    require_writable(library_folder(options))
    require_detector(options)
    require_encoder(options, method)

    from lib_uniid.commands.shared import (  # imports torch, which takes some seconds
        explaining_choice,
        face_result,
        library,
        reference,
        studio,
    )
    from lib_uniid.faces.same import duplicates
    from lib_uniid.library.store import also_enrolled

    people = library(options)
    if name in people.names() and not options.replace:
        raise ConfigError(f"{name!r} is already enrolled; choose another name, or add --replace")
    references = [reference(one, number=options.face, point=point, largest=options.largest) for one in given]
    how = ", or choose for all pictures by --face, --point or --largest"
    with bar(f"enrolling {name}") as progress, explaining_choice(how):
        person, seen = studio(options).enrol(
            name, references, progress=progress, force=options.force, method=method
        )
    failures: list[str] = []
    people.save(person, replace=options.replace, notify=failures.append)
    faces = [{"picture": ref.label, **face_result(one)} for ref, one in zip(references, seen, strict=True)]
    words = [f"{name} is enrolled from {len(faces)} picture{'s' * (len(faces) > 1)}"]
    words += [f"  {face['picture']}: {advice}" for face in faces for advice in face["advice"]]
    notes = [*duplicates([ref.label for ref in references], seen), *also_enrolled(people, person), *failures]
    words += [f"  {note}" for note in notes]
    return Outcome(result={"name": name, "references": faces, "notes": notes}, words=words)


def _point(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--point takes X,Y in pixels, got {text!r}") from None
    return x, y
