"""UniID from its files to plans."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.sites import Site
from lib_uniid.attention.text_encoders import TextEncoders
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, MissingModelError
from lib_uniid.methods.method import RequestedIdentity
from lib_uniid.methods.mixing import mix
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch
from lib_uniid.methods.uniid.encoder import EMBEDDING, TAPS
from lib_uniid.methods.uniid.loading import Weights, load_weights
from lib_uniid.methods.uniid.names import NameNorms
from lib_uniid.methods.uniid.plan import AdapterPart, build
from lib_uniid.methods.uniid.settings import settings_of
from lib_uniid.methods.uniid.text_branch import TextBranch
from lib_uniid.methods.uniid.text_tokens import rescaled
from lib_uniid.typing import Float

UNRESCALED = (
    "UniID: the host gives no text encoders, so people's text tokens do not get the norm of names; they may "
    "be too strong or too weak beside the words of the prompt"
)

Branch = TypeVar("Branch", TextBranch, AdapterBranch)
Tokens = tuple[Float[Tensor, "k _"], ...]
"""A person's tokens of one branch: one set, or one for each text encoder."""


class UniID:
    """A :class:`lib_uniid.methods.method.Method`, in float32 on the CPU: it works once per generation.

    The projections of the attention layers stay as they are in the file, and are used one layer at a time.
    """

    def __init__(self, weights: Weights) -> None:
        self.text = None if weights.text is None else weights.text.float().requires_grad_(False)
        self.adapter = None if weights.adapter is None else weights.adapter.float().requires_grad_(False)
        self.projections = weights.projections
        self.router = None if weights.router is None else weights.router.float().requires_grad_(False)
        self._norms = NameNorms()

    @classmethod
    def open(cls, folder: ModelFolder, notify: Callable[[str], None]) -> "UniID":
        """From the published files; one of them is enough for its branch alone. The router is optional."""
        notify("loading UniID")
        text, adapter, router = (
            folder.find(name) if folder.look_up(name) else None
            for name in ("text_branch", "adapter_branch", "uniid_router")
        )
        return cls(load_weights(text, adapter, router))

    @torch.no_grad()
    def plan(
        self,
        sites: Sequence[Site],
        people: Sequence[RequestedIdentity],
        null: Callable[[], IDFeatures],
        options: PlanOptions,
    ) -> Plan | None:
        if not people:
            return None
        settings = settings_of(options, len(people), trained=self.router is not None)
        text: Sequence[PlannedIdentity] = ()
        notes: tuple[str, ...] = ()
        if options.branches != "adapter":
            text = self._in_text(people, options.text_encoders if settings.rescaled else None)
            notes = (UNRESCALED,) if settings.rescaled and options.text_encoders is None else ()
        if options.branches == "text":
            _refuse_places(people, options)
            return build(sites, text, None, settings, notes)
        return build(sites, text, self._in_adapter(people, null()), settings, notes)

    def _in_text(
        self, people: Sequence[RequestedIdentity], encoders: TextEncoders | None
    ) -> list[PlannedIdentity]:
        """Both text encoders' tokens, each with the norm of a name at its place, joined on the channels."""
        branch = _there(self.text, "text", "adapter")
        norms = None if encoders is None else self._norms.of(encoders, branch.widths)
        planned: list[PlannedIdentity] = []
        for one in people:
            tokens = _mixed(one, lambda features: _text_tokens(branch, features))
            if norms is not None:
                tokens = tuple(rescaled(own, norm) for own, norm in zip(tokens, norms, strict=True))
            planned.append(_planned(one, torch.cat(tokens, dim=-1)))
        return planned

    def _in_adapter(self, people: Sequence[RequestedIdentity], null: IDFeatures) -> AdapterPart:
        branch = _there(self.adapter, "adapter", "text")
        planned: list[PlannedIdentity] = []
        for one in people:
            (tokens,) = _mixed(one, lambda features: (_adapter_tokens(branch, features),))
            planned.append(_planned(one, tokens, one.settings.mask))
        uncond = _adapter_tokens(branch, null)
        return AdapterPart(
            people=planned,
            null=uncond,
            projections=self.projections,
            router=None if self.router is None else self.router.of,
        )


def _text_tokens(branch: TextBranch, features: IDFeatures) -> Tokens:
    """The mean over a person's references."""
    embedding, tap = features[EMBEDDING], features[TAPS[-1]]
    _require_width((embedding.shape[1], tap.shape[1]), branch.reads)
    return tuple(tokens.mean(dim=0) for tokens in branch(embedding, tap))


def _adapter_tokens(branch: AdapterBranch, features: IDFeatures) -> Float[Tensor, "k d"]:
    """The mean over a person's references."""
    *finer, last = taps = [features[name] for name in TAPS]
    _require_width((sum(tap.shape[1] for tap in finer), last.shape[1]), branch.reads)
    return branch(taps).mean(dim=0)


def _require_width(found: tuple[int, int], wanted: tuple[int, int]) -> None:
    if found != wanted:
        raise EncoderMismatchError(
            f"the ID features are {found[0]} and {found[1]} wide and these weights read {wanted[0]} and "
            f"{wanted[1]}; encode the references again with the encoder that belongs to the weights"
        )


def _mixed(one: RequestedIdentity, tokens_of: Callable[[IDFeatures], Tokens]) -> Tokens:
    """A person's tokens, interpolated with those of the people mixed in, before any norm is changed."""
    own = tokens_of(one.features)
    others = [tokens_of(features) for features, _ in one.mixed]
    shares = [share for _, share in one.mixed]
    return tuple(mix(tokens, [other[i] for other in others], shares) for i, tokens in enumerate(own))


def _planned(
    one: RequestedIdentity, tokens: Float[Tensor, "k d"], mask: object | None = None
) -> PlannedIdentity:
    return PlannedIdentity(
        tokens=tokens,
        weight=one.settings.weight,
        mask=None if mask is None else torch.as_tensor(mask),
        start=one.settings.start,
        end=one.settings.end,
    )


def _there(branch: Branch | None, name: str, other: str) -> Branch:
    if branch is None:
        raise MissingModelError(
            f"UniID's {name} branch is not in the model folder; run uniid fetch {name}_branch, or set the "
            f"branches to {other}"
        )
    return branch


def _refuse_places(people: Sequence[RequestedIdentity], options: PlanOptions) -> None:
    if options.order != "free":
        raise ConfigError(
            "the text branch alone cannot place people in an order; set the order to free, or the branches "
            "to both",
            field="order",
        )
    for one in people:
        if one.settings.mask is not None:
            raise ConfigError(
                f"{one.settings.name}: the text branch alone cannot keep a person to a mask or region; leave "
                "it out, or set the branches to both",
                field="branches",
            )
