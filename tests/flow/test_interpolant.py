"""Paths, their velocities and the change of variables, in float64."""

import pytest
import torch

from calm_ft.flow.interpolant import QUARTER_TURN, CosineInterpolant, Interpolant, LinearInterpolant
from tests.flow.cosine_wrapper import path_scale
from tests.flow.tiny_head import rows

BOTH = pytest.mark.parametrize("interpolant", [LinearInterpolant(), CosineInterpolant()])
TIMES = torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]


@BOTH
def test_path_runs_from_noise_to_data(interpolant: Interpolant) -> None:
    _, x0, x1 = rows(5)
    start, end = torch.zeros(5, 1, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)
    torch.testing.assert_close(interpolant.interpolate(x0, x1, start), x0)
    torch.testing.assert_close(interpolant.interpolate(x0, x1, end), x1)


@BOTH
def test_velocity_is_the_paths_time_derivative(interpolant: Interpolant) -> None:
    _, x0, x1 = rows(33)
    _, derivative = torch.func.jvp(  # type: ignore[misc]
        lambda t: interpolant.interpolate(x0, x1, t), (TIMES,), (torch.ones_like(TIMES),)
    )
    torch.testing.assert_close(interpolant.velocity(x0, x1, TIMES), derivative, rtol=0, atol=1e-13)


@BOTH
def test_head_time_increases_from_zero_to_one(interpolant: Interpolant) -> None:
    t = interpolant.head_time(TIMES)
    assert t[0] == 0
    assert abs(t[-1] - 1) < 1e-15
    assert (t.diff(dim=0) > 0).all()


def test_cosine_path_is_the_scaled_linear_path_at_head_time() -> None:
    _, x0, x1 = rows(33)
    cosine, linear = CosineInterpolant(), LinearInterpolant()
    expected = path_scale(TIMES) * linear.interpolate(x0, x1, cosine.head_time(TIMES))
    torch.testing.assert_close(cosine.interpolate(x0, x1, TIMES), expected, rtol=0, atol=1e-14)


def test_cosine_weight_is_the_square_of_the_residual_scale() -> None:
    expected = (QUARTER_TURN / path_scale(TIMES)) ** 2
    torch.testing.assert_close(CosineInterpolant().residual_weight(TIMES), expected, rtol=0, atol=1e-14)


def test_linear_path_needs_no_change_of_variables() -> None:
    linear = LinearInterpolant()
    torch.testing.assert_close(linear.head_time(TIMES), TIMES)
    torch.testing.assert_close(linear.residual_weight(TIMES), torch.ones_like(TIMES))
