"""Losses and dropping: what they lower, and what they do not change."""

from dataclasses import replace

import torch

from lib_uniid.bases import SD15
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from lib_uniid.training.dropping import drop_structure
from lib_uniid.training.router_loss import gumbel_choice, imbalance, masks_at, routing_loss


def persons() -> torch.Tensor:
    """Two people: the left and the right third of a 16 x 16 latent."""
    boxes = torch.zeros(1, 2, 16, 16)
    boxes[:, 0, 4:12, :5] = 1.0
    boxes[:, 1, 4:12, 11:] = 1.0
    return boxes


def logits_for(boxes: torch.Tensor, tokens: int) -> torch.Tensor:
    return masks_at(boxes, tokens) * 20.0


def test_noise_and_signal_share_the_variance() -> None:
    schedule = NoiseSchedule.of(SD15)
    assert abs(float(schedule.kept[0]) - (1 - 0.00085)) < 1e-6
    assert float(schedule.kept[-1]) < 0.005
    latents, noise = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    noisy = schedule.add(latents, noise, torch.tensor([0, 999]))
    assert torch.allclose(noisy[:, 0, 0, 0] ** 2, schedule.kept[[0, 999]])


def test_the_schedule_is_that_of_the_base() -> None:
    base = replace(SD15, betas=(0.001, 0.001), trained_steps=10)
    assert torch.allclose(NoiseSchedule.of(base).kept, 0.999 ** torch.arange(1, 11).float())


def test_min_snr_weights_are_one_where_the_signal_is_weak() -> None:
    schedule = NoiseSchedule.of(SD15)
    assert float(schedule.weight(torch.tensor([999]))) == 1.0
    assert float(schedule.weight(torch.tensor([0]))) < 0.01


def test_even_weights_rise_with_the_noise_up_to_their_limit() -> None:
    schedule = NoiseSchedule.of(SD15)
    weight = schedule.even_weight(torch.arange(1000), limit=8.0)
    assert (weight.diff() >= 0).all()
    assert float(weight[-1]) == 8.0
    kept = schedule.kept[500]
    assert torch.isclose(weight[500], ((1 - kept) / kept).sqrt())


def test_offset_noise_is_unsure_of_the_mean_and_of_nothing_else() -> None:
    schedule, shape = NoiseSchedule.of(SD15), torch.Size((400, 4, 16, 16))
    noise = schedule.noise(shape, torch.Generator().manual_seed(0), offset=0.5)
    mean = noise.mean((2, 3), keepdim=True)
    assert abs(float(mean.std()) - (0.5**2 + 1 / 256) ** 0.5) < 0.03
    assert abs(float((noise - mean).std()) - 1) < 0.01


def test_an_error_on_a_face_counts_more_than_one_beside_it() -> None:
    faces = torch.zeros(1, 8, 8)
    faces[:, :4] = 1.0
    noise, weight = torch.zeros(1, 4, 8, 8), torch.ones(1)
    on, beside = torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    on[:, :, 0, 0], beside[:, :, 7, 7] = 1.0, 1.0
    ratio = face_weighted_error(on, noise, faces, weight, 4.0) / face_weighted_error(
        beside, noise, faces, weight, 4.0
    )
    assert abs(float(ratio) - 4.0) < 1e-5


def test_a_third_of_the_rows_loses_the_branch_and_a_third_loses_tokens() -> None:
    drop = drop_structure(3000, 32, torch.Generator().manual_seed(0))
    without = (drop.scale == 0).float().mean()
    thinned = (drop.keep.mean(1) < 1).float().mean()
    assert abs(float(without) - 0.33) < 0.03
    assert abs(float(thinned) - 0.33) < 0.03
    assert (drop.keep[drop.scale[:, 0, 0] == 0] == 1).all()


def test_only_who_gets_too_little_is_out_of_balance() -> None:
    boxes = persons()
    right = [logits_for(boxes, 256), logits_for(boxes, 64)]
    assert float(imbalance(right, boxes)) < 1e-6
    assert float(imbalance([site.flip(-1) for site in right], boxes)) < 1e-6
    unsure = [torch.tensor([0.2, -0.2]).expand_as(site) for site in right]
    assert float(imbalance(unsure, boxes)) > 10 * float(imbalance(unsure, boxes, sharpness=0.5)) > 1e-3


def test_the_routing_loss_is_nothing_for_the_truth_and_large_for_the_swap() -> None:
    boxes = persons()
    right = [logits_for(boxes, 256), logits_for(boxes, 64)]
    swapped = [site.flip(-1) for site in right]
    loss, share = routing_loss(right, boxes)
    assert float(loss) < 0.06
    assert float(share) == 1.0
    worse, none = routing_loss(swapped, boxes)
    assert float(worse) > 5 * float(loss)
    assert float(none) == 0.0


def test_the_background_is_not_penalised() -> None:
    boxes, site = persons(), logits_for(persons(), 256)
    background = masks_at(boxes, 256).sum(-1) == 0
    changed = site.clone()
    changed[background] = torch.tensor([50.0, -50.0])
    assert torch.equal(routing_loss([site], boxes)[0], routing_loss([changed], boxes)[0])


def test_the_gumbel_choice_is_one_hot_and_passes_gradients() -> None:
    logits = torch.zeros(2, 5, 3, requires_grad=True)
    chosen = gumbel_choice(torch.Generator().manual_seed(0))(logits)
    assert torch.allclose(chosen.sum(-1), torch.ones(2, 5))
    assert torch.allclose(chosen.max(-1).values, torch.ones(2, 5))
    (chosen * torch.arange(3.0)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
