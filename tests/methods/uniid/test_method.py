"""Tests of UniID from features to a plan."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_uniid.attention.deciding import ORDER, TRAINED, UNTRAINED
from lib_uniid.attention.identity import IdentityBranch
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.scores import AttentionRouter
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.bases import SD15, SDXL
from lib_uniid.config import PersonSettings
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import CheckpointMismatchError, ConfigError, EncoderMismatchError, MissingModelError
from lib_uniid.methods.method import RequestedIdentity
from lib_uniid.methods.registry import require
from lib_uniid.methods.site_router import SiteRouter
from lib_uniid.methods.uniid.loading import Weights
from lib_uniid.methods.uniid.method import UNRESCALED, UniID
from lib_uniid.methods.uniid.router import Routers
from lib_uniid.methods.uniid.text_tokens import InsertedTokens, mean_name, name_norms, rescaled
from tests import narrow, narrow_xl
from tests.methods.uniid.builders import TEXT_WIDTHS, WIDTH, features, null, router, weights
from tests.near import assert_near

LEFT, RIGHT = (torch.zeros(16, 16) for _ in range(2))
LEFT[:, :8], RIGHT[:, 8:] = 1.0, 1.0


@dataclass
class Encoders:
    """Text encoders that multiply; ``asked`` has what they were asked for."""

    key: Hashable = "a checkpoint"
    widths: tuple[int, ...] = TEXT_WIDTHS
    gain: float = 2.0
    asked: list[int] = field(default_factory=list[int])

    def table(self, number: int) -> Tensor:
        return torch.randn(49408, self.widths[number], generator=torch.Generator().manual_seed(number))

    def penultimate(self, number: int, embeddings: Tensor) -> Tensor:
        self.asked.append(number)
        return self.gain * embeddings


OPTIONS = PlanOptions(routing="auto", latent_size=(16, 16), text_encoders=Encoders())


@pytest.fixture(scope="module")
def method() -> UniID:
    return UniID(weights())


@pytest.fixture(scope="module")
def sites() -> tuple[Site, ...]:
    return find_sites(narrow_xl.narrow_unet(cross_attention_dim=sum(TEXT_WIDTHS)))


def person(
    name: str = "Anna",
    one: IDFeatures | None = None,
    mixed: Sequence[tuple[IDFeatures, float]] = (),
    **more: Any,
) -> RequestedIdentity:
    mask = more.pop("mask", None)
    settings = PersonSettings(name=name, mask=None if mask is None else mask.numpy(), **more)
    return RequestedIdentity(settings=settings, features=one or features(), mixed=mixed)


BOTH = [person("Anna", features(0), mask=LEFT), person("Ben", features(1), mask=RIGHT)]


def planned(
    method: UniID,
    sites: Sequence[Site],
    *people: RequestedIdentity,
    options: PlanOptions = OPTIONS,
    **more: Any,
) -> Plan:
    plan = method.plan(sites, people or [person()], null, replace(options, **more))
    assert plan is not None
    return plan


def text(plan: Plan) -> list[Tensor]:
    """Each person's text tokens."""
    (change,) = plan.context
    assert isinstance(change, InsertedTokens)
    return [one.tokens for one in change.gains.people]


def adapter(plan: Plan, index: int = 1) -> IdentityBranch:
    (branch,) = plan.branches[index]
    assert isinstance(branch, IdentityBranch)
    return branch


def adapter_tokens(plan: Plan) -> list[Tensor]:
    return [one.tokens for one in adapter(plan).gains.people]


def test_without_people_there_is_no_plan(method: UniID, sites: tuple[Site, ...]):
    assert method.plan(sites, (), null, OPTIONS) is None


def test_every_cross_attention_has_the_projections_of_its_own_layer(method: UniID, sites: tuple[Site, ...]):
    plan = planned(method, sites)
    assert method.adapter is not None
    assert set(plan.branches) == {site.index for site in sites if site.cross}
    assert len(plan.branches) == 70
    zeros = method.adapter([null()[f"tap{i}"] for i in range(1, 5)])[0]
    for index in (1, 47, 49, 119, 139):
        kv, to = adapter(plan, index).kv, method.projections[index]
        for made, tokens, weight in (
            (kv.key[0, :, 0], adapter_tokens(plan)[0], to.to_k),
            (kv.value[0, :, 0], adapter_tokens(plan)[0], to.to_v),
            *zip((one[0] for one in kv.null or ()), (zeros, zeros), (to.to_k, to.to_v), strict=True),
        ):
            assert_near(made.transpose(0, 1).flatten(1), tokens @ weight.T)


def test_text_tokens_have_the_norms_of_names_and_stand_side_by_side(method: UniID, sites: tuple[Site, ...]):
    one, encoders = features(), Encoders()
    assert method.text is not None
    parts = method.text(one["embedding"], one["tap4"])
    norms = [name_norms(2.0 * mean_name(encoders.table(number))) for number in (0, 1)]
    expected = torch.cat([rescaled(part[0], norm) for part, norm in zip(parts, norms, strict=True)], dim=-1)
    plan = planned(method, sites, person(one=one))
    assert_near(text(plan)[0], expected)
    assert not plan.notes


def test_several_references_give_the_mean_of_their_tokens(method: UniID, sites: tuple[Site, ...]):
    three, options = features(references=3), replace(OPTIONS, rescaling="off")
    each = [
        IDFeatures(
            tensors={name: tensor[i : i + 1] for name, tensor in three.tensors.items()},
            fingerprint="r100",
            references=1,
        )
        for i in range(3)
    ]
    together = planned(method, sites, person(one=three), options=options)
    apart = [planned(method, sites, person(one=one), options=options) for one in each]
    for tokens in (text, adapter_tokens):
        mean = torch.stack([tokens(plan)[0] for plan in apart]).mean(dim=0)
        assert_near(tokens(together)[0], mean)


def test_mixing_interpolates_tokens_and_then_gives_them_the_norms_of_names(
    method: UniID, sites: tuple[Site, ...]
):
    anna, ben = features(0), features(1)
    options = replace(OPTIONS, rescaling="off")
    plans = [
        planned(method, sites, one, options=options)
        for one in (person(one=anna), person(one=ben), person(one=anna, mixed=[(ben, 0.25)]))
    ]
    for tokens in (text, adapter_tokens):
        first, second, mixed = (tokens(plan)[0] for plan in plans)
        assert_near(mixed, 0.75 * first + 0.25 * second)
    normed = text(planned(method, sites, person(one=anna, mixed=[(ben, 0.25)])))[0]
    plain = text(planned(method, sites, person(one=anna)))[0]
    first = TEXT_WIDTHS[0]
    assert_near(normed[:, :first].norm(dim=1), plain[:, :first].norm(dim=1), 1e-4)
    assert_near(normed[:, first:].norm(dim=1), plain[:, first:].norm(dim=1), 1e-4)


# --- modes ---


def test_each_branch_works_alone(method: UniID, sites: tuple[Site, ...]):
    whole = planned(method, sites)
    in_text, in_adapter = (planned(method, sites, branches=one) for one in ("text", "adapter"))
    assert (len(in_text.branches), len(in_adapter.context)) == (0, 0)
    assert torch.equal(text(in_text)[0], text(whole)[0])
    assert torch.equal(adapter(in_adapter).kv.key, adapter(whole).kv.key)


@pytest.mark.parametrize(("missing", "other"), [("text", "adapter"), ("adapter", "text")])
def test_a_branch_without_its_file_is_named_with_the_way_without_it(
    sites: tuple[Site, ...], missing: str, other: str
):
    whole = weights()
    parts: dict[str, Any] = {"text": whole.text, "adapter": whole.adapter, missing: None}
    half = UniID(Weights(**parts, projections=whole.projections))
    for branches in ("both", missing):
        with pytest.raises(
            MissingModelError, match=f"UniID's {missing} branch .* set the branches to {other}"
        ):
            planned(half, sites, branches=branches)
    planned(half, sites, branches=other)


def test_the_text_branch_alone_keeps_no_one_to_a_place(method: UniID, sites: tuple[Site, ...]):
    with pytest.raises(ConfigError, match="Anna: the text branch alone cannot keep a person to a mask"):
        planned(method, sites, *BOTH, branches="text")
    with pytest.raises(ConfigError, match="cannot place people in an order"):
        planned(method, sites, branches="text", order="left to right")
    crowd = [person("Anna"), person("Ben", features(1))]
    assert len(text(planned(method, sites, *crowd, branches="text"))) == 2


# --- several people ---


def test_several_people_are_placed_by_their_own_attention_where_no_mask_is_drawn(
    method: UniID, sites: tuple[Site, ...]
):
    free = person("Anna"), person("Ben", features(1))
    for crowd, routing, routed in ((free, "auto", True), (free, "off", False), (BOTH, "auto", False)):
        plan = planned(method, sites, *crowd, routing=routing)
        assert plan.routing is not None
        assert plan.routing.deciding == UNTRAINED
        assert bool(plan.routing.routers) == routed
        for index, one in plan.routing.routers.items():
            assert isinstance(one, AttentionRouter)
            assert one.key is adapter(plan, index).kv.key
        assert len(plan.routing.routers) == (11 if routed else 0)  # one for each transformer


@pytest.fixture(scope="module")
def trained() -> UniID:
    return UniID(replace(weights(), router=routers(WIDTH)))


def routers(width: int) -> Routers:
    state = router(width)
    return Routers.from_state_dict({name.removeprefix("router_modules."): x for name, x in state.items()})


def test_a_trained_router_takes_the_place_of_the_people_s_attention(trained: UniID, sites: tuple[Site, ...]):
    plan = planned(trained, sites, person("Anna"), person("Ben", features(1)))
    assert plan.routing is not None
    assert plan.routing.deciding == TRAINED
    assert [*plan.routing.routers] == [1, 5, 9, 29, 49, 69, 89, 109, 113, 117, 121]
    tokens, hidden = torch.stack(adapter_tokens(plan))[None], torch.randn(1, 7, WIDTH)
    for index, made in plan.routing.routers.items():
        assert isinstance(made, SiteRouter)
        assert trained.router is not None
        layers = trained.router.at(index)
        expected = layers.to_q_router(hidden) @ layers.keys(tokens).mT
        assert_near(made(hidden, hidden), expected, 1e-4)


def test_a_trained_router_is_not_asked_where_nothing_is_to_be_chosen(trained: UniID, sites: tuple[Site, ...]):
    free = [person("Anna"), person("Ben", features(1))]
    for crowd, routing in ((BOTH, "auto"), (free, "off"), (free[:1], "auto")):
        plan = planned(trained, sites, *crowd, routing=routing)
        assert plan.routing is not None
        assert not plan.routing.routers


def test_a_router_for_another_unet_is_refused(sites: tuple[Site, ...]):
    crowd = [person("Anna"), person("Ben", features(1))]
    wide = UniID(replace(weights(), router=routers(WIDTH + 8)))
    with pytest.raises(
        CheckpointMismatchError, match=r"router_modules\.1\.to_q_router.* is for layers of 40 channels .* 32"
    ):
        planned(wide, sites, *crowd)
    few = routers(WIDTH)
    del few["29"]
    with pytest.raises(CheckpointMismatchError, match=r"router has no layers for .* \(number 29\)"):
        planned(UniID(replace(weights(), router=few)), sites, *crowd)


def test_people_may_stand_in_an_order(method: UniID, trained: UniID, sites: tuple[Site, ...]):
    crowd = [person("Anna"), person("Ben", features(1))]
    for one in (method, trained):
        plan = planned(one, sites, *crowd, order="left to right")
        assert plan.routing is not None
        assert plan.routing.deciding.order == ORDER


def test_a_mask_is_of_the_adapter_branch_alone(method: UniID, sites: tuple[Site, ...]):
    (change,), branch = planned(method, sites, *BOTH).context, adapter(planned(method, sites, *BOTH))
    assert isinstance(change, InsertedTokens)
    assert [one.mask is None for one in change.gains.people] == [True, True]
    assert [one.mask is None for one in branch.gains.people] == [False, False]


# --- norms of names ---


def test_norms_of_names_are_computed_once_for_each_set_of_weights(sites: tuple[Site, ...]):
    method, encoders = UniID(weights()), Encoders()
    for _ in range(2):
        planned(method, sites, text_encoders=encoders)
    assert encoders.asked == [0, 1]
    other = Encoders(key="with a LoRA", gain=3.0)
    plan = planned(method, sites, text_encoders=other)
    assert other.asked == [0, 1]
    assert_near(text(plan)[0], 1.5 * text(planned(method, sites, text_encoders=encoders))[0], 1e-4)
    assert encoders.asked == [0, 1]


def test_a_host_without_text_encoders_is_said(method: UniID, sites: tuple[Site, ...]):
    raw = planned(method, sites, rescaling="off", text_encoders=None)
    plan = planned(method, sites, text_encoders=None)
    assert plan.notes == (UNRESCALED,)
    assert torch.equal(text(plan)[0], text(raw)[0])
    assert not raw.notes
    assert not planned(method, sites, text_encoders=None, branches="adapter").notes


def test_text_encoders_of_other_widths_are_refused(method: UniID, sites: tuple[Site, ...]):
    encoders = Encoders(key="other", widths=(64, 96))
    with pytest.raises(CheckpointMismatchError, match=r"text encoder of 128 channels .* number 2 has 96"):
        planned(method, sites, text_encoders=encoders)


# --- scales ---


def scales(plan: Plan, progress: float) -> tuple[Any, Any]:
    """Of the text branch and of the adapter branch."""
    (change,) = plan.context
    state: Any = change.state(progress)
    return state[1][0], adapter(plan).gains.at(progress)[0]


def test_the_scales_are_the_official_ones(method: UniID, sites: tuple[Site, ...]):
    plan = planned(method, sites)
    assert [scales(plan, step / 30) for step in (0, 4, 5, 29)] == [(0.5, 0.8)] * 2 + [(1.8, 1.2)] * 2
    assert adapter(plan).rescaled


def test_scales_may_be_chosen(method: UniID, sites: tuple[Site, ...]):
    plan = planned(
        method,
        sites,
        person(weight=0.5),
        identity_scale=2.0,
        merge_start=0.5,
        text_before=0.1,
        text_after=0.2,
        adapter_before=0.3,
        adapter_after=0.4,
        rescaling="off",
    )
    assert [scales(plan, at) for at in (0.0, 0.5)] == [(0.1, 0.3), (0.2, 0.4)]
    assert not adapter(plan).rescaled


@pytest.mark.parametrize(("start", "expected"), [(0.0, (1.8, 1.2)), (0.1, (0.5, 0.8)), (1.0, (0.5, 0.8))])
def test_a_single_step_is_before_the_merge_unless_it_starts_at_once(
    method: UniID, sites: tuple[Site, ...], start: float, expected: tuple[float, float]
):
    assert scales(planned(method, sites, merge_start=start), 0.0) == expected


def test_a_merge_that_starts_beyond_the_last_step_never_comes(method: UniID, sites: tuple[Site, ...]):
    assert scales(planned(method, sites, merge_start=1.0), 149 / 150) == (0.5, 0.8)


# --- what does not fit ---


def test_a_unet_of_another_family_is_refused(method: UniID):
    sites = find_sites(narrow.narrow_unet())
    with pytest.raises(CheckpointMismatchError, match="for 70 cross-attention layers and this UNet has 16"):
        planned(method, sites, branches="adapter")
    with pytest.raises(CheckpointMismatchError, match="text of 192 channels and this UNet reads 48"):
        planned(method, sites, branches="text")


def test_a_unet_of_other_widths_is_refused(method: UniID):
    sites = find_sites(narrow_xl.narrow_unet(cross_attention_dim=192, block_out_channels=(WIDTH, WIDTH, 64)))
    with pytest.raises(CheckpointMismatchError, match=r"to_k_ip.weight maps 192 to 32 channels and .* to 64"):
        planned(method, sites)


def test_each_family_has_its_method_and_refuses_the_others():
    assert require(None, SDXL).value.name == "UniID"
    assert require(None, SD15).value.name == "UniPortrait"
    for name, base, own, other in (
        ("UniID", SD15, "SDXL", "Stable Diffusion 1.5"),
        ("UniPortrait", SDXL, "Stable Diffusion 1.5", "SDXL"),
    ):
        with pytest.raises(
            CheckpointMismatchError, match=f"method {name} works with {own}, and the base model is {other}"
        ):
            require(name, base)


def test_features_of_another_encoder_are_refused(method: UniID, sites: tuple[Site, ...]):
    other = IDFeatures(tensors={"intrinsic": torch.ones(49, 512)}, fingerprint="x", references=1)
    with pytest.raises(EncoderMismatchError, match="hold intrinsic and no embedding"):
        planned(method, sites, person(one=other))
    wide = features()
    wide = replace(wide, tensors={**wide.tensors, "embedding": torch.ones(1, 512)})
    with pytest.raises(EncoderMismatchError, match="are 512 and 16 wide and these weights read 16 and 16"):
        planned(method, sites, person(one=wide))
