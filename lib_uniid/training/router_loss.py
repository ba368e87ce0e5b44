"""Training the router: differentiable choices, and the loss that assigns each face to its identity."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib_uniid.attention.routing import Choose
from lib_uniid.typing import Float


def gumbel_choice(generator: torch.Generator, temperature: float = 1.0) -> Choose:
    """Gumbel-softmax over identities, hard forward and soft backward.

    The paper names Gumbel-softmax without temperature or hardness; straight-through at temperature 1 is our
    choice.
    """

    def choose(logits: Float[Tensor, "b n i"]) -> Float[Tensor, "b n i"]:
        uniform = torch.rand(logits.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
        noise = -(-uniform.log()).log()
        soft = ((logits + noise) / temperature).softmax(-1)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return hard + soft - soft.detach()

    return choose


def masks_at(persons: Float[Tensor, "b i height width"], tokens: int) -> Float[Tensor, "b n i"]:
    """Face boxes resampled to a layer's grid (covered share of each cell)."""
    factor = round((persons.shape[2] * persons.shape[3] / tokens) ** 0.5)
    return F.avg_pool2d(persons, factor).flatten(2).transpose(1, 2)


def routing_loss(
    logits: Iterable[Tensor], persons: Float[Tensor, "b i height width"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Squared distance of the soft map to the face boxes, inside their union, and the correctly routed share.

    ``logits`` are one ``b n i`` per site, where ``n`` is the number of the site's image tokens.
    ``|| W (psi - M) ||^2 / N`` of the paper, as a mean over the tokens of the union and over sites,
    so that it does not grow with resolution.
    """
    losses: list[Tensor] = []
    right: list[Tensor] = []
    places: list[Tensor] = []
    for site in logits:
        covered = masks_at(persons, site.shape[1])
        union = covered.sum(-1, keepdim=True).clamp(max=1)
        target = covered / covered.sum(-1, keepdim=True).clamp_min(1e-6)
        error = (site.softmax(-1) - target).square().mean(-1, keepdim=True) * union
        losses.append(error.sum() / union.sum().clamp_min(1e-6))
        clear = union[..., 0] > 0.5
        right.append(((site.argmax(-1) == target.argmax(-1)) & clear).sum())
        places.append(clear.sum())
    return torch.stack(losses).mean(), torch.stack(right).sum() / torch.stack(places).sum().clamp_min(1)


def imbalance(
    logits: Iterable[Tensor], persons: Float[Tensor, "b i height width"], sharpness: float = 4.0
) -> Float[Tensor, ""]:
    """Squared difference between each identity's share of the face tokens and its target share.

    It corresponds to the loss that balances a mixture of experts. If the input does not show which identity
    belongs to which face, undecided logits cost little in :func:`routing_loss`, but a hard choice may assign
    two faces to one identity. Hence ``sharpness``, which multiplies the logits. A mean over sites and
    pictures.
    """
    losses: list[Tensor] = []
    for site in logits:
        covered = masks_at(persons, site.shape[1])
        places = covered.sum(-1, keepdim=True).clamp(max=1)
        target = covered.sum(1) / covered.sum((1, 2))[:, None].clamp_min(1e-6)
        share = ((site * sharpness).softmax(-1) * places).sum(1) / places.sum(1).clamp_min(1e-6)
        losses.append((share - target).square().sum(-1).mean())
    return torch.stack(losses).mean()
