"""From a file to the state dicts that modules load, checked before a tensor is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lib_uniid import json_text
from lib_uniid.checkpoints.families import identify
from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.formats import IP_ADAPTER, UNIPORTRAIT_FACEID, UNIPORTRAIT_ROUTER, detect
from lib_uniid.checkpoints.header import read_header
from lib_uniid.checkpoints.reading import read
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UniPortraitWeights:
    """The pieces of the published files, each under the names that its module has.

    Attributes:
        resampler: ``faceid_proj``.
        faceid: ``faceid_adapter`` of the faceid file: identity K/V and LoRA for one person.
        router: ``faceid_adapter`` of the router file without what is not used; LoRA under its plain names.
        ip_adapter: ``image_proj`` and ``ip_adapter``, where an image prompt is used.
    """

    resampler: State
    faceid: State
    router: State | None = None
    ip_adapter: Mapping[str, State] | None = None


def check(path: Path, expected: Format) -> dict[str, int]:
    """Make sure that a file is of this format and whole; returns the sizes it was made with.

    Raises:
        MissingModelError: there is no such file.
        UnknownCheckpointError: damaged, hostile, or no weights.
        CheckpointMismatchError: weights of another family, or tensors that do not fit.
    """
    header = read_header(path)
    actual = detect(header)
    if actual is not expected:
        what = f"a {actual.title}" if actual else identify(header)
        raise CheckpointMismatchError(
            f"{path.name} is not a {expected.title}: it seems to be {what}; {expected.remedy}",
            missing=expected.marks - header.shapes.keys(),
        )
    return expected.check(header)


def load(path: Path, expected: Format) -> State:
    """The tensors that are used of a file of this format, by flat name. Raises as ``check``."""
    check(path, expected)
    state = read(path)
    return {name: state[name] for name in expected.used(state)}


def load_groups(path: Path, expected: Format) -> dict[str, State]:
    """The same parted into the outermost dictionaries of the published file. Raises as ``check``."""
    state = load(path, expected)
    return {
        group: {
            name.removeprefix(f"{group}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"{group}.")
        }
        for group in expected.groups
    }


def load_uniportrait(
    faceid: Path, router: Path | None = None, ip_adapter: Path | None = None
) -> UniPortraitWeights:
    """The published files of UniPortrait; one person needs the first, several people the second as well.

    Raises:
        MissingModelError: a file is not there.
        UnknownCheckpointError: a file is damaged, hostile, or no weights.
        CheckpointMismatchError: a file is of another family, its tensors do not fit, or files do not belong
            together.
    """
    sizes = check(faceid, UNIPORTRAIT_FACEID)
    for path, expected in ((router, UNIPORTRAIT_ROUTER), (ip_adapter, IP_ADAPTER)):
        if path is not None:
            _require_same(faceid, sizes, path, check(path, expected))
    pieces = load_groups(faceid, UNIPORTRAIT_FACEID)
    return UniPortraitWeights(
        resampler=pieces["faceid_proj"],
        faceid=pieces["faceid_adapter"],
        router=None if router is None else load_groups(router, UNIPORTRAIT_ROUTER)["faceid_adapter"],
        ip_adapter=None if ip_adapter is None else load_groups(ip_adapter, IP_ADAPTER),
    )


def read_config(weights: Path) -> dict[str, Any] | None:
    """The ``config.json`` beside a weights file, or None where there is none.

    Raises:
        UnknownCheckpointError: it is no JSON object.
    """
    path = weights.with_name("config.json")
    if not path.exists():
        return None
    try:
        config = json_text.read(path)
    except (OSError, ValueError) as error:
        raise UnknownCheckpointError(f"{path} cannot be read as JSON ({error}); download it again") from error
    if not isinstance(config, dict):
        raise UnknownCheckpointError(f"{path} holds no settings; download it again")
    return config


def _require_same(first: Path, sizes: Mapping[str, int], second: Path, others: Mapping[str, int]) -> None:
    """Sizes that both files have by the same word must agree; only the rank of LoRA is a file's own."""
    for word in sorted(sizes.keys() & others.keys() - {"rank"}):
        if sizes[word] != others[word]:
            raise CheckpointMismatchError(
                f"{second.name} does not belong to {first.name}: its {word} is {others[word]}, "
                f"not {sizes[word]}; use files of one release"
            )
