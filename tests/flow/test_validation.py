"""The yardstick between runs: its times, its repeatability, and that it works wherever validation runs."""

import pytest
import torch

from calm_ft.flow.validation import stratified_times, validation_residuals
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
