"""Which model files a method needs, and which method a models folder is for. Imports nothing heavy."""

from collections.abc import Collection

from lib_uniid.bases import Base
from lib_uniid.checkpoints.sources import sources
from lib_uniid.declarations import FaceDetector, face_detectors, id_encoders
from lib_uniid.methods import registry

BASE = "base"
"""The row of the base model, which every method needs."""


def needed(method: str, detector: FaceDetector, found: Collection[str]) -> frozenset[str]:
    """Names of the model files without which this method does not work.

    ``found`` are the files that can be used. Of a method with branches the files of one are enough; where
    there are none, those of all branches are needed.
    """
    unneeded = files_of_others(method, detector)
    names = {row.name for row in sources() if row.needed and row.name not in unneeded}
    branches = registry.require(method).value.branch_files.values()
    if not any(set(files) <= set(found) for files in branches):
        names.update(*branches)
    return frozenset(names)


def method_of(found: Collection[str], families: Collection[Base], detector: FaceDetector) -> str:
    """The method that a folder with these files and checkpoints of these families is for.

    The first one of which nothing is missing; else the one for the first family, or the default method.
    """
    served = [base for base in registry.bases() if base in families or not families]
    for base in served:
        for one in registry.methods().values():
            name = one.value.name
            if base in one.value.bases and needed(name, detector, found) <= {*found, BASE}:
                return name
    return registry.require(None, served[0]).value.name if served and families else registry.default()


def files_of_others(method: str, detector: FaceDetector) -> frozenset[str]:
    """Names of model files that only other methods, encoders or detectors than these need."""
    known, encoders = [one.value for one in registry.methods().values()], id_encoders()
    others = {one.value.source for one in face_detectors().values()}
    others |= {name for one in encoders.values() for name in one.value.sources}
    own = {detector.source}
    for one in known:
        encoder = encoders.get(one.encoder)
        branches = [name for files in one.branch_files.values() for name in files]
        files = {*one.sources, *one.several, *branches, *(encoder.value.sources if encoder else ())}
        others |= files
        own |= files if one.name == method else set()
    return frozenset(others - own)
