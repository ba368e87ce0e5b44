"""The published files of the method, checked before a tensor is read."""

from dataclasses import dataclass
from pathlib import Path

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.loading import CheckedFile, State, check, load_groups, read_config
from lib_uniid.checkpoints.reading import read
from lib_uniid.encoders.clip_vision import ClipVision
from lib_uniid.encoders.curricularface import CurricularFace
from lib_uniid.encoders.identity import IDEncoder
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.methods.uniportrait.formats.faceid import FACEID
from lib_uniid.methods.uniportrait.formats.router import ROUTER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """The pieces of the published files, each under the names that its module has.

    Attributes:
        resampler: ``faceid_proj``.
        faceid: ``faceid_adapter`` of the faceid file: identity K/V and LoRA for one person.
        router: ``faceid_adapter`` of the router file without what is not used; LoRA under its plain names.
    """

    resampler: State
    faceid: State
    router: State | None = None


def load_weights(faceid: Path, router: Path | None = None) -> Weights:
    """One person needs the first file, several people the second as well.

    Raises:
        MissingModelError: a file is not there.
        UnknownCheckpointError: a file is damaged, hostile, or no weights.
        CheckpointMismatchError: a file is of another family, its tensors do not fit, or files do not belong
            together.
    """
    first = check(faceid, FACEID)
    second = None if router is None else check(router, ROUTER)
    if second is not None:
        _require_same(first, second)
    pieces = load_groups(first)
    return Weights(
        resampler=pieces["faceid_proj"],
        faceid=pieces["faceid_adapter"],
        router=None if second is None else load_groups(second)["faceid_adapter"],
    )


def load_encoder(folder: ModelFolder) -> IDEncoder:
    """CurricularFace, with CLIP's image encoder where the folder has it, in float32.

    Raises:
        MissingModelError: there is no recogniser.
        CheckpointMismatchError: tensors do not fit.
    """
    backbone = CurricularFace.from_state_dict(read(folder.find("curricularface")))
    if folder.look_up("clip_vision") is None:
        return IDEncoder(backbone, None)
    path = folder.find("clip_vision")
    return IDEncoder(backbone, ClipVision.from_state_dict(read(path), read_config(path)))


def _require_same(first: CheckedFile, second: CheckedFile) -> None:
    """Sizes that both files have by the same word must agree; only the rank of LoRA is a file's own."""
    sizes, others = first.sizes, second.sizes
    for word in sorted(sizes.keys() & others.keys() - {"rank"}):
        if sizes[word] != others[word]:
            raise CheckpointMismatchError(
                f"{second.header.path.name} does not belong to {first.header.path.name}: its {word} is "
                f"{others[word]}, not {sizes[word]}; use files of one release"
            )
