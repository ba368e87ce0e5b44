"""The built-in plugin: what is needed with any method. Nothing heavy is imported before it is opened."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lib_uniid.bases import STANDALONE, titles
from lib_uniid.checkpoints.sources import DETECTOR, RECOGNISER, Piece, Source
from lib_uniid.declarations import FaceDetector, Scorer

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.evaluation.presence import Check
    from lib_uniid.faces.finder import Finder
else:
    ModelFolder = Check = Finder = Any

_PACK = "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"
_DETECTOR = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
_RECOGNISER = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"

BASE_MODEL = Source(
    name="base",
    purpose="makes the pictures",
    repository="SG161222/Realistic_Vision_V5.1_noVAE",
    path=f"(any {titles(STANDALONE)} checkpoint or diffusers folder)",
    placed="Stable-diffusion",
    licence="its publisher's, for most of them CreativeML OpenRAIL-M",
    about="2 to 4 GB",
    note="a good one for photographs",
)


def _serves(roles: Mapping[str, str]) -> int:
    """A pack needs a detector, and is better with a recogniser."""
    return 0 if DETECTOR not in roles.values() else 2 if RECOGNISER in roles.values() else 1


INSIGHTFACE = Source(
    name="insightface",
    purpose="finds faces, and checks who is in the finished picture",
    repository="deepinsight/insightface",
    path="det_10g.onnx and w600k_r50.onnx out of buffalo_l.zip in the releases",
    placed="insightface/models/buffalo_l",
    about="289 MB",
    licence="non-commercial research only",
    size=288_621_354,
    sha256=_PACK,
    pack=_serves,
    note="insightface sells licences for other use",
    pieces=(
        Piece(
            path="",
            name="buffalo_l.zip",
            url="https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
            sha256=_PACK,
            members={"det_10g.onnx": _DETECTOR, "w600k_r50.onnx": _RECOGNISER},
        ),
    ),
)


def register_checkpoint_formats(register: Callable[[Source], None]) -> None:
    for row in (BASE_MODEL, INSIGHTFACE):
        register(row)


def register_face_detectors(register: Callable[[FaceDetector], None]) -> None:
    register(FaceDetector(name="insightface", source=INSIGHTFACE.name, open=_face_finder))


def register_scorers(register: Callable[[Scorer], None]) -> None:
    register(Scorer(name="presence", load=_presence))


def _face_finder(folder: ModelFolder) -> Finder:
    from lib_uniid.faces.detection import FaceFinder

    return FaceFinder(folder.find(INSIGHTFACE.name), recognise=True)


def _presence() -> Check:
    from lib_uniid.evaluation.presence import check

    return check
