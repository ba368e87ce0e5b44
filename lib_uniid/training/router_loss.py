"""Teaching the router: soft choices that gradients pass, and the loss that ties each face to its person."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib_uniid.attention.routing import Choose
from lib_uniid.typing import Float


def gumbel_choice(generator: torch.Generator, temperature: float = 1.0) -> Choose:
    """Gumbel-softmax over people, hard forward and soft backward: what sampling will see, with a gradient.

    The paper names Gumbel-softmax without temperature or hardness; straight-through at 1 is our choice.
    """

    def choose(logits: Float[Tensor, "b n i"]) -> Float[Tensor, "b n i"]:
        uniform = torch.rand(logits.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
        noise = -(-uniform.log()).log()
        soft = ((logits + noise) / temperature).softmax(-1)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return hard + soft - soft.detach()

    return choose


def masks_at(persons: Float[Tensor, "b i height width"], tokens: int) -> Float[Tensor, "b n i"]:
    """Face boxes brought to a layer's grid (share of each cell that is covered)."""
    factor = round((persons.shape[2] * persons.shape[3] / tokens) ** 0.5)
    return F.avg_pool2d(persons, factor).flatten(2).transpose(1, 2)


def routing_loss(
    logits: Iterable[Tensor], persons: Float[Tensor, "b i height width"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Squared distance of the soft map to the face boxes, inside their union; and the share routed rightly.

    ``logits`` are one ``b n i`` per site, with as many places ``n`` as the site has.
    ``|| W (psi - M) ||^2 / N`` of the paper, taken as a mean over the places of the union and over sites,
    so that it does not grow with resolution.
    """
    losses: list[Tensor] = []
    right, places = torch.zeros(()), torch.zeros(())
    for site in logits:
        covered = masks_at(persons, site.shape[1])
        union = covered.sum(-1, keepdim=True).clamp(max=1)
        target = covered / covered.sum(-1, keepdim=True).clamp_min(1e-6)
        error = (site.softmax(-1) - target).square().mean(-1, keepdim=True) * union
        losses.append(error.sum() / union.sum().clamp_min(1e-6))
        clear = union[..., 0] > 0.5
        right += (site.argmax(-1) == target.argmax(-1))[clear].sum()
        places += clear.sum()
    return torch.stack(losses).mean(), right / places.clamp_min(1)


def imbalance(
    logits: Iterable[Tensor], persons: Float[Tensor, "b i height width"], sharpness: float = 4.0
) -> Float[Tensor, ""]:
    """How far the people's shares of all faces' places are from the shares that are theirs, squared.

    As the loss that balances a mixture of experts. Being of two minds costs :func:`routing_loss` little where
    nothing tells who stands where, but a choice made from it may give two faces to one person. Hence
    ``sharpness``, which multiplies the logits. A mean over sites and pictures.
    """
    losses: list[Tensor] = []
    for site in logits:
        covered = masks_at(persons, site.shape[1])
        places = covered.sum(-1, keepdim=True).clamp(max=1)
        target = covered.sum(1) / covered.sum((1, 2))[:, None].clamp_min(1e-6)
        share = ((site * sharpness).softmax(-1) * places).sum(1) / places.sum(1).clamp_min(1e-6)
        losses.append((share - target).square().sum(-1).mean())
    return torch.stack(losses).mean()
