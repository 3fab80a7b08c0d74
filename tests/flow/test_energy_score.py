"""The energy score is known for Gaussians, least for the data's own distribution, and needs no many samples."""

import math

import pytest
import torch

from calm_ft.flow.energy_score import energy_score, spread
from calm_ft.randomness import make_rng

NUM_ROWS = 40_000


def folded_mean(mean: float, variance: float) -> float:
    """E |X| of a normal X."""
    scale = math.sqrt(variance)
    return scale * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * variance)) + mean * math.erf(
        mean / math.sqrt(2 * variance)
    )


def mean_score(mean: float, std: float, num_samples: int) -> float:
    """Of samples from N(mean, std^2) for data from N(0, 1), one channel."""
    rng = make_rng(0, "energy", num_samples)
    samples = mean + std * torch.randn(num_samples, NUM_ROWS, 1, generator=rng)
    return float(energy_score(samples, torch.randn(NUM_ROWS, 1, generator=rng)).mean())


@pytest.mark.parametrize("num_samples", [2, 5])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 1.0), (0.0, 0.5), (-0.3, 1.6)])
def test_the_mean_score_of_a_gaussian_is_its_closed_form(mean: float, std: float, num_samples: int) -> None:
    expected = folded_mean(mean, 1 + std**2) - folded_mean(0.0, 2 * std**2) / 2
    assert mean_score(mean, std, num_samples) == pytest.approx(expected, abs=0.015)


def test_the_datas_own_distribution_has_the_least_score() -> None:
    own = mean_score(0.0, 1.0, 2)
    assert all(mean_score(*other, 2) > own + 0.02 for other in [(0.5, 1.0), (0.0, 0.5), (0.0, 1.7)])


def test_samples_that_are_all_alike_are_scored_by_their_distance_alone() -> None:
    observed = torch.randn(7, 4, generator=make_rng(0, "observed"))
    alike = torch.zeros(3, 7, 4)
    torch.testing.assert_close(energy_score(alike, observed), observed.norm(dim=1) / 2)
    assert torch.equal(spread(alike), torch.zeros(7))


def test_the_spread_is_that_of_all_pairs() -> None:
    samples = torch.tensor([[[0.0]], [[1.0]], [[3.0]]])
    assert spread(samples).tolist() == [pytest.approx((1 + 3 + 2) / 3)]
