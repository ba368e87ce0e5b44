"""Choice of one face in a picture."""

from collections.abc import Sequence

from lib_uniid.errors import ConfigError, NoFaceError, SeveralFacesError
from lib_uniid.faces.detection import Face


def choose(
    faces: Sequence[Face],
    *,
    number: int | None = None,
    point: tuple[float, float] | None = None,
    largest: bool = False,
) -> Face:
    """The chosen face; without a criterion there must be exactly one face.

    Args:
        number: counted from 1, left to right.
        point: (x, y) in pixels; if several boxes contain it, the smallest is taken.
        largest: by the area of the box.

    Raises:
        ConfigError: more than one criterion.
        NoFaceError: no faces, none of that number, or none at that point.
        SeveralFacesError: several faces and no criterion.
    """
    if (number is not None) + (point is not None) + largest > 1:
        raise ConfigError("choose a face by number, by point or as the largest; give only one of these")
    if not faces:
        raise NoFaceError(
            "no face was found in the picture; use a picture in which the face is larger, brighter "
            "and turned to the camera"
        )
    if number is not None:
        return _numbered(faces, number)
    if point is not None:
        return _at(faces, point)
    if largest or len(faces) == 1:
        return max(faces, key=lambda face: face.area)
    raise SeveralFacesError(
        f"{len(faces)} faces were found ({_listed(faces)}); choose one by its number, "
        "by a point in it, or choose the largest"
    )


def describe(face: Face) -> str:
    """A face as text: its number, size and position in pixels."""
    left, top, right, bottom = face.box
    return f"{face.number}: {right - left:.0f} x {bottom - top:.0f} px at ({left:.0f}, {top:.0f})"


def _listed(faces: Sequence[Face]) -> str:
    return ", ".join(map(describe, faces))


def _numbered(faces: Sequence[Face], number: int) -> Face:
    for face in faces:
        if face.number == number:
            return face
    raise NoFaceError(f"there is no face number {number}; this picture has {_listed(faces)}")


def _at(faces: Sequence[Face], point: tuple[float, float]) -> Face:
    around = [face for face in faces if face.contains(point)]
    if not around:
        raise NoFaceError(
            f"there is no face at ({point[0]:g}, {point[1]:g}); this picture has {_listed(faces)}"
        )
    return min(around, key=lambda face: face.area)
