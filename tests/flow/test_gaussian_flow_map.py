"""The exact flow map between two Gaussians has no LSD residual; an impostor right on the diagonal has.

With 8 channels, d = 0.3 and logit-normal pairs on the linear path, the impostor's residual summed over
channels is 18.9 to the precision of its sample; ours are means over channels, so the figure here is 18.9 / 8.
"""

import pytest
import torch

from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.interpolant import CosineInterpolant, Interpolant, LinearInterpolant
from calm_ft.flow.lsd import lsd_residual
from calm_ft.flow.sampling import sample_flow_map
from calm_ft.flow.time_sampling import LogitNormalTimes, sorted_pairs
from calm_ft.randomness import make_rng
from tests.flow.cosine_wrapper import CosineWrapper, cosine_lsd_residual
from tests.flow.gaussian_oracle import (
    DATA_STD,
    average_velocity,
    cosine_marginal_std,
    draw,
    impostor_velocity,
    marginal_std,
)

NUM_ROWS, NUM_CHANNELS = 100_000, 8
SUMMED_IMPOSTOR_RESIDUAL = 18.9
BOTH_SCHEDULES = pytest.mark.parametrize("interpolant", [LinearInterpolant(), CosineInterpolant()])


def scheduled_residuals(velocity_fn, interpolant: Interpolant) -> dict[str, float]:
    """Both mean residuals as the schedule weights them, at logit-normal times."""
    x0, x1 = draw(NUM_ROWS, NUM_CHANNELS)
    sigma, tau = (time.double() for time in sorted_pairs(LogitNormalTimes(), NUM_ROWS, make_rng(3, "times")))
    s, t = interpolant.head_time(sigma), interpolant.head_time(tau)
    weight = interpolant.residual_weight(tau).squeeze(-1)
    return {
        "flow": (weight * flow_matching_residual(velocity_fn, x0, x1, t)).mean().item(),
        "lsd": (weight * lsd_residual(velocity_fn, velocity_fn, x0, x1, s, t)).mean().item(),
    }


@BOTH_SCHEDULES
def test_exact_flow_map_has_no_lsd_residual_and_the_impostor_has(interpolant: Interpolant) -> None:
    exact = scheduled_residuals(average_velocity, interpolant)
    impostor = scheduled_residuals(impostor_velocity, interpolant)
    assert exact["lsd"] < 1e-28
    assert impostor["lsd"] > 2
    assert impostor["flow"] == pytest.approx(exact["flow"], rel=1e-12)


def test_impostor_residual_on_the_linear_path_is_the_known_figure() -> None:
    # Its residual is x_s times a function of the times, so x_s = sig(s) gives the expectation over the rows,
    # and a fine grid of normal logits the one over the times.
    logits = 0.4 + torch.linspace(-7, 7, 701, dtype=torch.float64)
    density = torch.exp(-0.5 * (logits - 0.4) ** 2)
    weights = torch.outer(density, density).flatten()
    pairs = torch.sigmoid(torch.cartesian_prod(logits, logits)).sort(dim=-1).values
    s, t = pairs[:, :1], pairs[:, 1:]
    residual = lsd_residual(impostor_velocity, impostor_velocity, marginal_std(s), marginal_std(s), s, t)
    expected_residual = ((weights * residual).sum() / weights.sum()).item()
    assert expected_residual * NUM_CHANNELS == pytest.approx(SUMMED_IMPOSTOR_RESIDUAL, rel=0.01)


def test_diagonal_residual_of_the_exact_map_is_the_conditional_variance() -> None:
    # For Gaussians, Var[x1 - x0 | x_t] = d^2 / sig(t)^2, and no velocity can do better.
    x0, x1 = draw(NUM_ROWS, NUM_CHANNELS)
    for time in (0.1, 0.5, 0.9):
        t = torch.full((NUM_ROWS, 1), time, dtype=torch.float64)
        expected = (DATA_STD / marginal_std(t[0])).square().item()
        measured = flow_matching_residual(average_velocity, x0, x1, t).mean().item()
        assert measured == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_exact_map_lands_on_the_data_in_any_number_of_steps(num_steps: int) -> None:
    x0, _ = draw(100, NUM_CHANNELS)
    torch.testing.assert_close(sample_flow_map(average_velocity, x0, num_steps), DATA_STD * x0)


def test_impostor_misses_the_data_in_one_step() -> None:
    x0, _ = draw(100, NUM_CHANNELS)
    torch.testing.assert_close(sample_flow_map(impostor_velocity, x0, 1), 2 * x0)


def test_wrapped_exact_map_is_the_exact_map_of_the_cosine_path() -> None:
    y, _ = draw(1000, NUM_CHANNELS)
    sigma, tau = (time.double() for time in sorted_pairs(LogitNormalTimes(), 1000, make_rng(3, "times")))
    wrapper = CosineWrapper(average_velocity)
    expected = y * cosine_marginal_std(tau) / cosine_marginal_std(sigma)
    torch.testing.assert_close(wrapper.flow_map(sigma, tau, y), expected, rtol=0, atol=1e-12)


def test_wrapped_exact_map_has_no_residual_on_the_cosine_path_and_the_impostor_has() -> None:
    x0, x1 = draw(1000, NUM_CHANNELS)
    sigma, tau = (time.double() for time in sorted_pairs(LogitNormalTimes(), 1000, make_rng(3, "times")))
    exact = cosine_lsd_residual(average_velocity, average_velocity, x0, x1, sigma, tau)
    impostor = cosine_lsd_residual(impostor_velocity, impostor_velocity, x0, x1, sigma, tau)
    assert exact.max() < 1e-25
    assert impostor.mean() > 1
