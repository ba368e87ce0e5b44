"""The published files of the method, checked before a tensor is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.loading import CheckedFile, check, load
from lib_uniid.encoders.iresnet import IResNet
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch
from lib_uniid.methods.uniid.encoder import R100Encoder
from lib_uniid.methods.uniid.formats.adapter_branch import ADAPTER_BRANCH, MODULES, SITES
from lib_uniid.methods.uniid.formats.recogniser import RECOGNISER
from lib_uniid.methods.uniid.formats.router import MODULES as ROUTER_MODULES
from lib_uniid.methods.uniid.formats.router import ROUTER
from lib_uniid.methods.uniid.formats.text_branch import TEXT_BRANCH
from lib_uniid.methods.uniid.router import Routers
from lib_uniid.methods.uniid.text_branch import TextBranch
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projections:
    """``to_k_ip`` and ``to_v_ip`` of one cross-attention layer."""

    to_k: Float[Tensor, "d c"]
    to_v: Float[Tensor, "d c"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """Both branches and the router, in the precision of their files; each may be missing.

    ``projections`` has the adapter branch's keys and values by the number of the attention layer
    (:attr:`lib_uniid.attention.sites.Site.index`). They stay in the file until they are used.
    """

    text: TextBranch | None
    adapter: AdapterBranch | None
    projections: Mapping[int, Projections]
    router: Routers | None = None


def load_weights(text: Path | None, adapter: Path | None, router: Path | None = None) -> Weights:
    """Both branches or one, and the router if there is one.

    A ``config.json`` beside a file is not needed, because its shapes say all.

    Raises:
        MissingModelError: a file does not exist.
        UnknownCheckpointError: a file is damaged, hostile, or no weights.
        CheckpointMismatchError: a file is of another type, its tensors do not fit, or the files do not belong
            together.
    """
    first = None if text is None else check(text, TEXT_BRANCH)
    second = None if adapter is None else check(adapter, ADAPTER_BRANCH)
    if first is not None and second is not None:
        _require_same(first, second)
    third = None if router is None else check(router, ROUTER)
    if second is not None and third is not None:
        _require_its_tokens(second, third)
    branch, projections = (None, {}) if second is None else _adapter(second)
    return Weights(
        text=None if first is None else TextBranch.from_state_dict(load(first, mapped=True)),
        adapter=branch,
        projections=projections,
        router=None if third is None else _router(third),
    )


def load_encoder(folder: ModelFolder) -> R100Encoder:
    """The recogniser, in float32. Raises ``MissingModelError`` if there is none, and as ``load_weights``."""
    file = check(folder.find(RECOGNISER.name), RECOGNISER)
    return R100Encoder(IResNet.from_state_dict(load(file)))


def _adapter(file: CheckedFile) -> tuple[AdapterBranch, dict[int, Projections]]:
    state = load(file, mapped=True)
    projections = {
        site: Projections(
            to_k=state.pop(f"{MODULES}{site}.to_k_ip.weight"),
            to_v=state.pop(f"{MODULES}{site}.to_v_ip.weight"),
        )
        for site in range(1, SITES, 2)
    }
    return AdapterBranch.from_state_dict(state), projections


def _router(file: CheckedFile) -> Routers:
    state = load(file, mapped=True)
    return Routers.from_state_dict({name.removeprefix(ROUTER_MODULES): state[name] for name in state})


def _require_same(text: CheckedFile, adapter: CheckedFile) -> None:
    """Both branches read one recogniser and are for one UNet."""
    widths = text.sizes["width1"] + text.sizes["width2"]
    for what, one, other in (
        ("width of the last tap", text.sizes["tap"], adapter.sizes["tap"]),
        ("width of the text", widths, adapter.sizes["context"]),
    ):
        _require_equal(text, adapter, what, one, other)


def _require_its_tokens(adapter: CheckedFile, router: CheckedFile) -> None:
    """The router reads the tokens that the adapter branch makes."""
    for what, word in (("number of tokens of a person", "tokens"), ("width of the tokens", "context")):
        _require_equal(adapter, router, what, adapter.sizes[word], router.sizes[word])


def _require_equal(file: CheckedFile, other: CheckedFile, what: str, wanted: int, found: int) -> None:
    if wanted != found:
        raise CheckpointMismatchError(
            f"{other.header.path.name} does not belong to {file.header.path.name}: its {what} is {found}, "
            f"not {wanted}; use files of one release"
        )
