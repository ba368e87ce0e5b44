"""Small UNets and adapters with only what the attention package relies on."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.rows import Role
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter

GUIDED = (Role.UNCOND, Role.COND)


class Named(nn.Module):
    """Anything with children under the given dotted names."""

    def __init__(self, children: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, child in children.items():
            head, _, rest = name.partition(".")
            if not rest:
                self.add_module(head, child)
            elif head in self._modules:
                holder = self._modules[head]
                assert isinstance(holder, Named)
                holder.adopt(rest, child)
            else:
                self.add_module(head, Named({rest: child}))

    def adopt(self, name: str, child: nn.Module) -> None:
        head, _, rest = name.partition(".")
        holder = self._modules.get(head)
        if rest and isinstance(holder, Named):
            holder.adopt(rest, child)
        else:
            self.add_module(head, Named({rest: child}) if rest else child)


def attention(width: int = 8, context: int | None = None, heads: int = 2) -> Attention:
    """An attention layer of Stable Diffusion 1.5's kind: bias in ``to_out`` only."""
    return Attention(query_dim=width, cross_attention_dim=context, heads=heads, dim_head=width // heads)


def narrow_unet(seed: int = 0) -> UNet2DConditionModel:
    """A real UNet of Stable Diffusion 1.5's layout, in evaluation mode."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        block_out_channels=(32, 32, 32, 32), cross_attention_dim=32, attention_head_dim=4, layers_per_block=2
    ).eval()


def random_adapter(
    sites: Sequence[Site], *, rank: int = 3, tokens: int = 4, router: bool = True
) -> UniPortraitAdapter:
    """An adapter of these sites in which every weight matters."""
    torch.manual_seed(1)
    adapter = UniPortraitAdapter.for_sites(sites, rank)
    if router:
        adapter.add_router(tokens)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return adapter


def people(count: int, context: int, tokens: int = 4, rows: tuple[int, ...] = ()) -> list[PlannedIdentity]:
    """People with random tokens; ``rows`` is the number of entries where each row has its own."""
    torch.manual_seed(2)
    return [PlannedIdentity(tokens=torch.randn(*rows, tokens, context)) for _ in range(count)]


def null_tokens(context: int, tokens: int = 4) -> Tensor:
    """Uncond tokens."""
    return torch.randn(tokens, context, generator=torch.Generator().manual_seed(3))


class Pair:
    """One transformer block's two attention layers in a UNet of their own, with a matching adapter."""

    def __init__(self, self_attention: Attention, cross_attention: Attention) -> None:
        self.self_attention, self.cross_attention = self_attention, cross_attention
        block = "down_blocks.0.attentions.0.transformer_blocks.0"
        self.unet = Named({f"{block}.attn1": self_attention, f"{block}.attn2": cross_attention}).eval()
        self.sites = find_sites(self.unet)


def small_pair(width: int = 8, context: int = 6) -> Pair:
    """Random layers."""
    torch.manual_seed(0)
    return Pair(attention(width), attention(width, context))


def predict(unet: UNet2DConditionModel, rows: int = 2, only: slice = slice(None)) -> Tensor:
    """Of the same latents in every row, each with text of its own; ``only`` some of these rows."""
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(1, 4, 8, 8, generator=generator).expand(rows, -1, -1, -1)
    text = torch.randn(rows, 7, 32, generator=generator)
    with torch.no_grad():
        return unet(latents[only].to(unet.dtype), 500, encoder_hidden_states=text[only].to(unet.dtype)).sample


def hook_count(module: nn.Module) -> int:
    """Hooks on the module and everything in it."""
    kinds = ("_forward_hooks", "_forward_pre_hooks")
    return sum(len(vars(child)[kind]) for child in module.modules() for kind in kinds)


@contextmanager
def leaves_no_trace(unet: UNet2DConditionModel) -> Generator[None]:
    """Output, weights (same tensors, same values) and hooks are before as after."""
    out, state = predict(unet), {name: x.clone() for name, x in unet.state_dict().items()}
    places = {name: x.data_ptr() for name, x in unet.named_parameters()}
    yield
    after = unet.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], state[name]) for name in state)
    assert places == {name: x.data_ptr() for name, x in unet.named_parameters()}
    assert hook_count(unet) == 0
    assert torch.equal(predict(unet), out)
