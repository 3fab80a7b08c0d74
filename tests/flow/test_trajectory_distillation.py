"""An exact flow map has no residual along its own trajectory; one that jumps badly learns from its small steps."""

import pytest
import torch

from calm_ft.flow.sampling import flow_map_trajectory, sample_flow_map
from calm_ft.flow.trajectory_distillation import TrajectoryDraws, draw_pieces, trajectory_residual
from calm_ft.randomness import make_rng
from tests.flow.gaussian_oracle import average_velocity, impostor_velocity, marginal_std

STEPS = 8


def drawn(num_rows: int, temperature: float = 1.0) -> TrajectoryDraws:
    draws = draw_pieces(num_rows, 4, STEPS, temperature, make_rng(0, "pieces"))
    return draws._replace(x0=draws.x0.double())


def test_the_exact_flow_map_has_no_residual_and_one_of_instantaneous_velocities_has() -> None:
    draws = drawn(2000)
    assert float(trajectory_residual(average_velocity, average_velocity, draws, STEPS).max()) < 1e-20
    assert float(trajectory_residual(impostor_velocity, impostor_velocity, draws, STEPS).mean()) > 0.01


def test_the_points_are_those_of_the_exact_marginals_and_the_last_is_the_sample() -> None:
    x0 = drawn(50).x0
    points = flow_map_trajectory(average_velocity, x0, STEPS)
    times = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    torch.testing.assert_close(points, x0 * marginal_std(times)[:, None, None])
    assert torch.equal(points[-1], sample_flow_map(average_velocity, x0, STEPS))


def test_half_of_the_rows_go_the_whole_way_from_noise_as_it_is_played_and_the_others_any_piece() -> None:
    draws = drawn(20_000, temperature=0.25)
    is_whole = (draws.start == 0) & (draws.end == STEPS)
    assert float(is_whole.double().mean()) == pytest.approx(0.5 + 0.5 / 36, abs=0.01)  # 36 pairs of nine points
    assert bool((draws.start < draws.end).all())
    assert int(draws.start.max()) == STEPS - 1
    pieces = draws.x0[~is_whole]
    assert float(pieces.std()) == pytest.approx(1.0, abs=0.02)
    assert float(draws.x0[is_whole].std()) == pytest.approx(0.5, abs=0.03)  # a few by chance from noise of 1


def test_a_linear_map_learns_in_one_jump_what_the_teacher_does_in_eight() -> None:
    """Euler steps along instantaneous velocities scale x by a known factor, which one jump can reach exactly."""
    draws = drawn(4000)
    whole = draws._replace(start=torch.zeros_like(draws.start), end=torch.full_like(draws.end, STEPS))
    rate = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([rate], line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = trajectory_residual(lambda s, t, x: rate * x, impostor_velocity, whole, STEPS).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    factor = sample_flow_map(impostor_velocity, torch.ones(1, 1, dtype=torch.float64), STEPS).item()
    assert 1 + rate.item() == pytest.approx(factor, abs=1e-6)
