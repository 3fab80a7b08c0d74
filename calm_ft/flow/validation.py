"""The yardstick between runs, objectives and schedules: plain residuals at times that none of them chose.

Training losses do not compare: a schedule changes their times and weights, and a learned weighting can lower
them without a better head. These residuals are unweighted, on the linear path, at uniform times that are
stratified over the rows (one row in each of N equal slices), which takes most of the times' own variance out
of the mean.
"""

import torch
from torch import nn

from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.heads import bind_condition, head_time_conditions
from calm_ft.flow.lsd import lsd_residual
from calm_ft.flow.precision import at_least_float32, without_autocast


def stratified_times(num_rows: int, rng: torch.Generator) -> torch.Tensor:
    """Uniform times `[N, 1]`, one in each slice of width 1/N, in random order; float32 on the CPU."""
    slices = torch.randperm(num_rows, generator=rng)
    return ((slices + torch.rand(num_rows, generator=rng)) / num_rows)[:, None]


@torch.no_grad()
def validation_residuals(
    head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator
) -> dict[str, torch.Tensor]:
    """Squared residuals a row, `[N]`, under `flow` and, for heads with two time conditions, `lsd`.

    Same rows and same generator state give the same noise and times, so the figures of two heads differ by
    the heads alone. cond is `[N, D]`, x1 is `[N, C]`. Works under inference mode too.
    """
    cond, x1 = at_least_float32(cond), at_least_float32(x1)
    x0 = torch.randn(x1.shape, generator=rng).to(x1)
    first, second = (stratified_times(len(x1), rng).to(x1) for _ in range(2))
    velocity_fn = bind_condition(head, cond)
    with without_autocast(x1.device):
        residuals = {"flow": flow_matching_residual(velocity_fn, x0, x1, first)}
        if head_time_conditions(head) == 2:
            s, t = torch.minimum(first, second), torch.maximum(first, second)
            residuals["lsd"] = lsd_residual(velocity_fn, velocity_fn, x0, x1, s, t)
    return residuals
