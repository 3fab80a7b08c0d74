"""Mirrored noise: unbiased, and what a head shares between the draws of a time changes nothing."""

from dataclasses import replace

import pytest
import torch

from calm_ft.flow.noise_sampling import IndependentNoise, MirroredNoise, NoiseSampler
from calm_ft.randomness import make_rng
from tests.conftest import default_objective
from tests.flow.tiny_head import rows, tiny_head


@pytest.mark.parametrize("sampler", [IndependentNoise(), MirroredNoise()])
def test_every_draw_is_standard_normal(sampler: NoiseSampler) -> None:
    noise = sampler.sample(20_000, 2, make_rng(0, "noise"))
    assert noise.shape == (sampler.num_per_time, 20_000, 2)
    for draw in noise:
        torch.testing.assert_close(draw.mean(dim=0), torch.zeros(2), atol=0.03, rtol=0)
        torch.testing.assert_close(draw.T.cov(), torch.eye(2), atol=0.03, rtol=0)


def test_draws_that_share_their_times_give_the_mean_of_each_alone() -> None:
    """The loss, and the gradients of parameters and condition."""
    objective, head = default_objective(), tiny_head()
    cond, _, x1 = rows(12)
    cond.requires_grad_(True)
    draws = objective.draw(12, x1.shape[1], make_rng(0, "objective"))
    found = objective.evaluate(head, cond, x1, draws).total
    alone = [replace(draws, x0=draws.x0[k : k + 1], x0_lsd=draws.x0_lsd[k : k + 1]) for k in range(2)]
    expected = torch.stack([objective.evaluate(head, cond, x1, each).total for each in alone]).mean()
    torch.testing.assert_close(found, expected)
    wanted = [cond, *(p for name, p in head.named_parameters() if "cond_embed" in name)]
    for one, other in zip(*(torch.autograd.grad(each, wanted) for each in (found, expected)), strict=True):
        torch.testing.assert_close(one, other)
