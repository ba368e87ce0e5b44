"""The narrow networks of the SDXL miniature, as they are trained.

The UNet has SDXL's 140 attention layers, the text models transformers' names; both branches, the recogniser
and the router are UniID's own modules with smaller sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.encoders.iresnet import IResNet, Sizes
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch
from lib_uniid.methods.uniid.text_branch import TextBranch
from lib_uniid.typing import Float, Int
from miniature.characters import TRAITS
from miniature.recipes.data import known_tokens

SIDE = 256
"""Pictures are larger than Stable Diffusion 1.5's miniature: SDXL attends at a half and a quarter only."""

LATENT = SIDE // 8
WIDTH = 64
TEXT_WIDTHS = (32, 64)
CONTEXT = sum(TEXT_WIDTHS)
LAYERS, LENGTH = 3, 77
TIME_WIDTH = 32
FACE_TOKENS, NAME_TOKENS = 16, 3
RECOGNISER = Sizes(stem=16, widths=(16, 24, 32, 64), depths=(3, 13, 30, 3), final_size=7, embedding=128)
FAR = 1e3
"""The place of a person who is not in the picture, in widths of the picture."""


def new_unet() -> Any:
    """The narrow UNet in SDXL's layout: three levels, the inner two with 2 and 10 transformer blocks."""
    from diffusers import UNet2DConditionModel

    build: Any = UNet2DConditionModel  # its stubs know one depth for all levels
    return build(
        sample_size=LATENT,
        block_out_channels=(WIDTH,) * 3,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=4,
        cross_attention_dim=CONTEXT,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTHS[1] + 6 * TIME_WIDTH,
        norm_num_groups=32,
    )


@cache
def vocabulary() -> tuple[int, ...]:
    """CLIP's numbers of all tokens that are ever used: those of captions, and the second model's padding."""
    return tuple(sorted({0, *known_tokens()}))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        query, key, value = (
            rearrange(one(x), "b t (h c) -> b h t c", h=self.heads)
            for one in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(rearrange(out, "b h t c -> b t (h c)"))


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, quick: bool) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = _Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.quick = quick

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        x = x + self.self_attn(self.layer_norm1(x))
        inner = self.mlp["fc1"](self.layer_norm2(x))
        inner = inner * torch.sigmoid(1.702 * inner) if self.quick else F.gelu(inner)
        return x + self.mlp["fc2"](inner)


class _Embeddings(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(len(vocabulary()), width)
        self.position_embedding = nn.Embedding(LENGTH, width)
        for table in (self.token_embedding, self.position_embedding):
            nn.init.normal_(table.weight, 0.0, 0.04)


class _Encoder(nn.Module):
    def __init__(self, width: int, quick: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(width, width // 16, quick) for _ in range(LAYERS))


class ClipText(nn.Module):
    """A CLIP text model under transformers' names, without anything that a CUDA graph cannot record.

    Its table has the words of :func:`vocabulary` alone, and texts hold their numbers there.
    """

    def __init__(self, width: int, *, quick: bool, projection: bool) -> None:
        super().__init__()
        self.embeddings = _Embeddings(width)
        self.encoder = _Encoder(width, quick)
        self.final_layer_norm = nn.LayerNorm(width)
        self.text_projection = nn.Linear(width, width, bias=False) if projection else None

    @property
    def table(self) -> Float[Tensor, "v d"]:
        """The token embeddings."""
        return self.embeddings.token_embedding.weight

    def penultimate(self, embedded: Float[Tensor, "b t d"]) -> tuple[Tensor, Tensor]:
        """The states before the last layer, as the UNet reads them, and those after it."""
        positions = self.embeddings.position_embedding.weight
        x, before = embedded + positions[: embedded.shape[1]], embedded
        for layer in self.encoder.layers:
            before, x = x, layer(x)
        return before, x

    def forward(
        self, ids: Int[Tensor, "b t"], ends: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b d"]]:
        """Penultimate states, and the pooled text at the place of the end token."""
        # A product, because the gradient of a lookup waits for the device.
        before, last = self.penultimate(F.one_hot(ids, len(self.table)).to(self.table) @ self.table)
        pooled = self.final_layer_norm(last[torch.arange(len(ids), device=ids.device), ends])
        return before, pooled if self.text_projection is None else self.text_projection(pooled)


class TraitTokens(nn.Module):
    """Tokens of exact traits, and those of the null identity."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.traits = nn.Sequential(nn.Linear(len(TRAITS), 256), nn.GELU(), nn.Linear(256, tokens * width))
        self.slots = nn.Parameter(torch.randn(tokens, width))
        self.null = nn.Parameter(torch.zeros(tokens, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, who: Float[Tensor, "*b f"], unnamed: Tensor) -> Float[Tensor, "*b k d"]:
        """The null identity's where ``unnamed`` is true."""
        described = 3 * self.traits(who).unflatten(-1, self.slots.shape)
        described = torch.where(unnamed[..., None, None], self.null, described)
        return self.norm(described + self.slots)


class SiteProjections(nn.ModuleDict):
    """UniID's ``adapter_modules``: two projections of the identity tokens for each cross-attention layer."""

    def __init__(self, sites: Sequence[Site]) -> None:
        super().__init__(
            {
                str(site.index): nn.ModuleDict(
                    {
                        "to_k_ip": nn.Linear(CONTEXT, site.width, bias=False),
                        "to_v_ip": nn.Linear(CONTEXT, site.width, bias=False),
                    }
                )
                for site in sites
                if site.cross
            }
        )
        with torch.no_grad():
            for site in sites:
                if site.cross:
                    self.of(site.index).get_parameter("to_k_ip.weight").copy_(site.to_k.weight)
                    self.of(site.index).get_parameter("to_v_ip.weight").zero_()

    def of(self, index: int) -> nn.ModuleDict:
        """Those of cross-attention layer ``index``."""
        found = self[str(index)]
        assert isinstance(found, nn.ModuleDict)
        return found


@dataclass(slots=True)
class Conditioning:
    """What the cross-attention layers read beside the text in one call; ``tokens`` None adds nothing.

    ``x`` is where each person stands, in widths of the picture. ``gate`` is 1 for rows with identities.
    ``route`` gives the map ``[b n i]`` of a layer with these hidden states; None routes by ``x``.
    """

    tokens: Float[Tensor, "b i k d"] | None = None
    x: Float[Tensor, "b i"] | None = None
    gate: Float[Tensor, " b"] | None = None
    route: Any = None
    maps: dict[int, Tensor] | None = None

    def map_at(self, site: int, hidden: Float[Tensor, "b n d"]) -> Float[Tensor, "b n i"]:
        """One-hot, over people."""
        if self.route is not None:
            return self.route(site, hidden)
        assert self.x is not None
        assert self.maps is not None
        count = hidden.shape[1]
        if count not in self.maps:
            self.maps[count] = nearest(self.x, count)
        return self.maps[count]


def nearest(x: Float[Tensor, "b i"], count: int) -> Float[Tensor, "b n i"]:
    """Each of ``count`` places of a square picture to whoever stands nearest, by columns."""
    side = round(count**0.5)
    columns = (torch.arange(side, device=x.device) + 0.5) / side
    closest = (x[:, None, :] - columns[None, :, None]).abs().argmin(-1)
    return F.one_hot(closest, x.shape[1]).to(x).repeat(1, side, 1)


class Processor:
    """Text attention plus identity attention at one layer: the plain form, in which UniID is trained."""

    def __init__(self, site: Site, projections: nn.ModuleDict, reading: Conditioning) -> None:
        self.site, self.projections, self.reading = site, projections, reading

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is not None
        heads = self.site.heads
        query = _heads(attn.to_q(hidden_states), heads)
        out = F.scaled_dot_product_attention(
            query,
            _heads(attn.to_k(encoder_hidden_states), heads),
            _heads(attn.to_v(encoder_hidden_states), heads),
        )
        reading = self.reading
        if reading.tokens is not None:
            tokens = reading.tokens.flatten(1, 2)
            routing = reading.map_at(self.site.index, hidden_states)
            bias = (routing - 1).mul(1e4).repeat_interleave(reading.tokens.shape[2], 2)[:, None]
            own = F.scaled_dot_product_attention(
                query,
                _heads(self.projections["to_k_ip"](tokens), heads),
                _heads(self.projections["to_v_ip"](tokens), heads),
                attn_mask=bias.to(query.dtype),
            )
            assert reading.gate is not None
            out = out + own * reading.gate[:, None, None, None].to(own.dtype)
        return attn.to_out[0](rearrange(out, "b h n c -> b n (h c)"))


def _heads(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (h c) -> b h n c", h=heads)


class Base(nn.Module):
    """UNet, both text models, and what conditions them on exact traits: as names in the text, as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = new_unet()
        first, second = TEXT_WIDTHS
        self.text = ClipText(first, quick=True, projection=False)
        self.text_2 = ClipText(second, quick=False, projection=True)
        self.names = TraitTokens(NAME_TOKENS, CONTEXT)
        self.faces = TraitTokens(FACE_TOKENS, CONTEXT)
        self.sites = find_sites(self.unet)
        self.projections = SiteProjections(self.sites)
        self.reading = Conditioning()
        self.attach(self.projections)

    def attach(self, projections: SiteProjections) -> None:
        """Let the cross-attention layers read identities through these projections."""
        for site in self.sites:
            if site.cross:
                site.attention.set_processor(Processor(site, projections.of(site.index), self.reading))

    def name_norms(self) -> tuple[Float[Tensor, "k 1"], ...]:
        """The norms, at a name's places, of the states that each text model makes of unknown words.

        The last two words of the vocabulary are the tokens of begin and end.
        """
        norms: list[Tensor] = []
        for text in (self.text, self.text_2):
            begin, end = text.table[-2], text.table[-1]
            unknown = torch.zeros_like(begin)
            embedded = torch.stack([begin, *[unknown] * NAME_TOKENS, end])[None]
            states, _ = text.penultimate(embedded)
            norms.append(states[0, 1 : 1 + NAME_TOKENS].float().norm(dim=-1, keepdim=True))
        return tuple(norms)

    def sized(self, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
        """Name tokens with the norms of names, for each text model apart."""
        parts = tokens.split(TEXT_WIDTHS, -1)
        return torch.cat(
            [
                part / part.float().norm(dim=-1, keepdim=True) * norm
                for part, norm in zip(parts, self.name_norms(), strict=True)
            ],
            -1,
        )

    def states(
        self, ids: Int[Tensor, "b t"], ids_2: Int[Tensor, "b t"], ends: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b p"]]:
        """What the UNet reads of a text, and the pooled text."""
        first, _ = self.text(ids, ends)
        second, pooled = self.text_2(ids_2, ends)
        return torch.cat([first, second], -1), pooled

    def predict(
        self, noisy: Tensor, times: Tensor, states: Tensor, pooled: Tensor, time_ids: Tensor
    ) -> Float[Tensor, "b 4 h w"]:
        """The noise."""
        added = {"text_embeds": pooled, "time_ids": time_ids}
        return self.unet(noisy, times, states, added_cond_kwargs=added, return_dict=False)[0]


def with_names(
    states: Float[Tensor, "b t d"], names: Float[Tensor, "b k d"], named: Float[Tensor, " b"]
) -> Float[Tensor, "b t d"]:
    """Name tokens after the first place of the text in the rows that are ``named`` (1)."""
    inserted = torch.cat([states[:, :1], names.to(states), states[:, 1 : LENGTH - names.shape[1]]], 1)
    return torch.where(named[:, None, None] > 0, inserted, states)


def new_recogniser() -> IResNet:
    """The narrow iresnet100."""
    return IResNet(RECOGNISER)


def new_text_branch() -> TextBranch:
    """The narrow text branch."""
    return TextBranch(
        embedding=RECOGNISER.embedding,
        hidden=256,
        tap=RECOGNISER.widths[-1],
        widths=TEXT_WIDTHS,
        tokens=NAME_TOKENS,
        depth=3,
        heads=(1, 1),
        mult=4,
    )


def new_adapter_branch() -> AdapterBranch:
    """The narrow adapter branch."""
    *finer, last = RECOGNISER.widths
    return AdapterBranch(
        tokens=FACE_TOKENS, shallow=sum(finer), deep=last, dim=96, depth=4, heads=2, mult=3, outputs=CONTEXT
    )
