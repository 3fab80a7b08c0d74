"""The yardstick between runs: its times, its repeatability, and that it works wherever validation runs."""

import pytest
import torch

from calm_ft.flow.validation import one_step_scores, stratified_times, validation_residuals
from calm_ft.randomness import make_rng
from tests.flow.gaussian_oracle import average_velocity, impostor_velocity
from tests.flow.tiny_head import rows, tiny_head


class AnalyticHead(torch.nn.Module):
    """A velocity function as a head that ignores its condition."""

    num_time_conds = 2

    def __init__(self, velocity_fn) -> None:
        super().__init__()
        self.velocity_fn = velocity_fn

    def forward(self, cond: torch.Tensor, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.velocity_fn(s, t, x)


def test_stratified_times_put_one_row_into_each_slice() -> None:
    times = stratified_times(100, make_rng(0, "validation"))
    slices = (times.squeeze(-1) * 100).floor().long()
    assert torch.equal(slices.sort().values, torch.arange(100))
    assert not torch.equal(slices, torch.arange(100))


def test_residuals_tell_the_exact_map_from_the_impostor_by_lsd_alone() -> None:
    cond, _, x1 = rows(256)
    exact, impostor = (
        validation_residuals(AnalyticHead(velocity_fn), cond, 0.3 * x1, make_rng(0, "validation"))
        for velocity_fn in (average_velocity, impostor_velocity)
    )
    assert torch.equal(exact["flow"], impostor["flow"])
    assert exact["lsd"].max() < 1e-28
    assert impostor["lsd"].mean() > 1


@pytest.mark.parametrize(("num_time_conds", "keys"), [(2, {"flow", "lsd"}), (1, {"flow"})])
def test_keys_follow_the_heads_time_conditions(num_time_conds: int, keys: set[str]) -> None:
    cond, _, x1 = rows(16, torch.float32)
    residuals = validation_residuals(tiny_head(num_time_conds, torch.float32), cond, x1, make_rng(0, "validation"))
    assert set(residuals) == keys
    assert all(residual.shape == (16,) for residual in residuals.values())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_residuals_are_the_same_in_every_gradient_mode(mode: type) -> None:
    head, (cond, _, x1) = tiny_head(dtype=torch.float32), rows(16, torch.float32)
    expected = validation_residuals(head, cond, x1, make_rng(0, "validation"))
    with mode():
        # Fresh tensors, so that under inference mode they are inference tensors as a data loader's would be.
        residuals = validation_residuals(head, cond.clone(), x1.clone(), make_rng(0, "validation"))
    for name, residual in expected.items():
        assert torch.equal(residuals[name], residual), name


def test_residuals_are_the_same_under_autocast() -> None:
    head, (cond, _, x1) = tiny_head(dtype=torch.float32), rows(16, torch.float32)
    expected = validation_residuals(head, cond, x1, make_rng(0, "validation"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        residuals = validation_residuals(head, cond, x1, make_rng(0, "validation"))
    assert torch.equal(residuals["lsd"], expected["lsd"])
    assert torch.equal(residuals["flow"], expected["flow"])


def test_one_steps_score_sees_a_map_that_the_flow_residual_takes_for_the_exact_one() -> None:
    cond, _, x1 = rows(4096)
    data = 0.3 * x1
    exact, impostor = (
        one_step_scores(AnalyticHead(velocity_fn), cond, data, 1.0, make_rng(0, "validation"))
        for velocity_fn in (average_velocity, impostor_velocity)
    )
    torch.testing.assert_close(exact["one_step_score"], exact["many_step_score"])
    assert impostor["one_step_score"].mean() > 1.2 * exact["one_step_score"].mean()
    assert impostor["many_step_score"].mean() < impostor["one_step_score"].mean()


def test_the_spread_falls_with_the_temperature_and_a_head_with_one_time_has_no_scores() -> None:
    cond, _, x1 = rows(64, torch.float32)
    warm, cold = (
        one_step_scores(tiny_head(dtype=torch.float32), cond, x1, temperature, make_rng(0, "validation"))
        for temperature in (1.0, 0.25)
    )
    assert set(warm) == {"one_step_score", "one_step_spread", "many_step_score"}
    assert all(score.shape == (64,) for score in warm.values())
    assert 0 < cold["one_step_spread"].mean() < warm["one_step_spread"].mean()
    assert one_step_scores(tiny_head(1, torch.float32), cond, x1, 1.0, make_rng(0, "validation")) == {}
