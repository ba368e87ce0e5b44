"""``uniid faces``: list the faces in pictures, numbered from the left."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from lib_uniid.commands import Outcome
from lib_uniid.commands.bars import bar
from lib_uniid.commands.inputs import picture_file, require_detector
from lib_uniid.faces.picture import load_picture


def run(options: Namespace) -> Outcome:
    pictures = [picture_file(text, "a picture") for text in options.pictures]
    require_detector(options)

    from lib_uniid.commands.shared import face_result, studio  # imports torch, which takes some seconds

    finder = studio(options)
    found: list[dict[str, Any]] = []
    with bar("detecting faces") as progress:
        for path in pictures:  # one picture at a time in memory
            seen = finder.faces(load_picture(path))
            found.append({"picture": str(path), "faces": [face_result(one) for one in seen]})
            progress(len(found), len(pictures))
    words = [line for listed in found for line in _in_words(listed["picture"], listed["faces"])]
    words += [] if finder.domain_note is None else [finder.domain_note]
    return Outcome(result={"pictures": found, "note": finder.domain_note}, words=words)


def _in_words(picture: str, faces: Sequence[dict[str, Any]]) -> list[str]:
    words = [f"{picture}: {len(faces) or 'no'} face{'s' * (len(faces) != 1)}"]
    for face in faces:
        left, top, right, bottom = face["box"]
        size, place = f"{right - left:.0f} x {bottom - top:.0f} px", f"({left:.0f}, {top:.0f})"
        words.append(f"  {face['number']}: {size} at {place}")
        words += [f"     {advice}" for advice in face["advice"]]
    return words
