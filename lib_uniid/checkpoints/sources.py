"""The official files: what each is for, where it is published, and under which licence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file to fetch.

    Attributes:
        path: inside the source's repository on the hub.
        name: under which it is kept; of an archive, under which it is kept until it is unpacked.
        url: where it is instead, outside the hub.
        sha256: of the published file, None where not known; a server's own statement is then taken.
        members: files of an archive that are wanted, with their sha256.
    """

    path: str
    name: str
    url: str | None = None
    sha256: str | None = None
    members: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file or folder that a person has to get.

    Attributes:
        name: as in ``ModelFolder.find``.
        purpose: what does not work without it.
        repository: on the Hugging Face hub, or a project's releases.
        path: inside the repository.
        placed: where it is usually kept under the models folder; found by content anywhere below it.
        size: bytes of the published file, None where not known.
        about: its size in words, where only that is known.
        sha256: of the published file, None where not known.
        licence: of the weights, not of any code.
        note: what to know before using it.
        needed: whether nothing works without it.
        pieces: what to fetch for it; empty where that is the user's choice.
    """

    name: str
    purpose: str
    repository: str
    path: str
    placed: str
    licence: str
    size: int | None = None
    about: str = ""
    sha256: str | None = None
    note: str = ""
    needed: bool = True
    pieces: tuple[Piece, ...] = ()

    @property
    def address(self) -> str:
        """Where it is published."""
        elsewhere = any(piece.url for piece in self.pieces)
        return f"https://{'github.com' if elsewhere else 'huggingface.co'}/{self.repository}"

    def to_get(self, root: Path) -> str:
        """One line for a person who gets it: name, purpose, size, file, address, and the folder for it."""
        size = self.about if self.size is None else f"{self.size / 1e6:.0f} MB"
        return (
            f"{self.name} ({self.purpose}), {size}: {self.path} from {self.address} into {root / self.placed}"
        )


_GLINT = "trained on Glint360K, which is for non-commercial research; check before any other use"

_BACKBONE = "aa54ae6dc9f7ac6e262809f1a81d6108e221952bf836aee4cb677ef19246c6ec"
_CLIP = "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030"
_IP_ADAPTER = "68e1df30d760f280e578c302f1e73b37ea08654eff16a31153588047affe0058"
_PACK = "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"
_DETECTOR = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
_RECOGNISER = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"


def _whole(path: str, sha256: str | None = None) -> Piece:
    """A file of the hub that keeps its name."""
    return Piece(path=path, name=path.rpartition("/")[2], sha256=sha256)


SOURCES = (
    Source(
        name="base",
        purpose="makes the pictures",
        repository="SG161222/Realistic_Vision_V5.1_noVAE",
        path="(any Stable Diffusion 1.5 checkpoint or diffusers folder)",
        placed="Stable-diffusion",
        licence="its publisher's, for most of them CreativeML OpenRAIL-M",
        about="2 to 4 GB",
        note="the authors' own examples use this one",
    ),
    Source(
        name="faceid",
        purpose="generates with one person",
        repository="Junjie96/UniPortrait",
        path="uniportrait-faceid_sd15.bin",
        about="224 MB",
        placed="uniid",
        licence="Apache-2.0",
        pieces=(_whole("uniportrait-faceid_sd15.bin"),),
    ),
    Source(
        name="router",
        purpose="generates with several people",
        repository="Junjie96/UniPortrait",
        path="uniportrait-router_sd15.bin",
        about="226 MB",
        placed="uniid",
        licence="Apache-2.0",
        pieces=(_whole("uniportrait-router_sd15.bin"),),
        needed=False,
    ),
    Source(
        name="curricularface",
        purpose="reads the identity from a reference",
        repository="Junjie96/UniPortrait",
        path="glint360k_curricular_face_r101_backbone.bin",
        about="261 MB",
        placed="uniid",
        licence="Apache-2.0",
        sha256=_BACKBONE,
        pieces=(_whole("glint360k_curricular_face_r101_backbone.bin", _BACKBONE),),
        note=_GLINT,
    ),
    Source(
        name="clip_vision",
        purpose="reads the structure of a face; not needed at structure scale 0",
        repository="h94/IP-Adapter",
        path="models/image_encoder/model.safetensors",
        placed="uniid/image_encoder",
        licence="Apache-2.0",
        size=2_528_373_448,
        sha256=_CLIP,
        pieces=(
            _whole("models/image_encoder/config.json"),
            _whole("models/image_encoder/model.safetensors", _CLIP),
        ),
        note="put config.json of the same folder beside it",
        needed=False,
    ),
    Source(
        name="ip_adapter",
        purpose="a picture as a prompt beside the people",
        repository="h94/IP-Adapter",
        path="models/ip-adapter_sd15.bin",
        placed="uniid",
        licence="Apache-2.0",
        size=44_642_825,
        sha256=_IP_ADAPTER,
        pieces=(_whole("models/ip-adapter_sd15.bin", _IP_ADAPTER),),
        needed=False,
    ),
    Source(
        name="insightface",
        purpose="finds faces, and checks who is in the finished picture",
        repository="deepinsight/insightface",
        path="det_10g.onnx and w600k_r50.onnx out of buffalo_l.zip in the releases",
        placed="insightface/models/buffalo_l",
        about="289 MB",
        licence="non-commercial research only",
        size=288_621_354,
        sha256=_PACK,
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
    ),
)


def source(name: str) -> Source:
    """The row of the table; ``name`` must be in it."""
    return next(row for row in SOURCES if row.name == name)
