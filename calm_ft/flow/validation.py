"""The yardstick between runs, objectives and schedules: plain residuals at times that none of them chose.

Training losses do not compare: a schedule changes their times and weights, and a learned weighting can lower
them without a better head. These residuals are unweighted, on the linear path, at uniform times that are
stratified over the rows (one row in each of N equal slices), which takes most of the times' own variance out
of the mean. `one_step_scores` judges what is played instead: the latents that the sampler gives.
"""

import torch
from torch import nn

from calm_ft.flow.energy_score import energy_score, spread
from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.heads import bind_condition, head_time_conditions
from calm_ft.flow.lsd import lsd_residual
from calm_ft.flow.precision import at_least_float32, without_autocast
from calm_ft.flow.sampling import sample_flow_map

NUM_NOISES = 4
MANY_STEPS = 8


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


@torch.no_grad()
def one_step_scores(
    head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, temperature: float, rng: torch.Generator
) -> dict[str, torch.Tensor]:
    """Energy scores a row, `[N]`, of latents sampled in one step and in `MANY_STEPS`, and the spread of the former.

    Conditions and latents are those of the recordings (teacher-forced), the noises `NUM_NOISES` for each row, the same
    for both samplers. cond is `[N, D]`, x1 is `[N, C]`; temperature is the noise's variance. A head with one time
    condition has no map of one step, and no scores: {}.
    """
    if head_time_conditions(head) != 2:
        return {}
    cond, x1 = at_least_float32(cond), at_least_float32(x1)
    noises = temperature**0.5 * torch.randn(NUM_NOISES, *x1.shape, generator=rng).to(x1)
    velocity_fn = bind_condition(head, cond.repeat(NUM_NOISES, 1))  # all noises in one call: rows are few
    with without_autocast(x1.device):
        one, many = (
            sample_flow_map(velocity_fn, noises.flatten(0, 1), num_steps).view_as(noises)
            for num_steps in (1, MANY_STEPS)
        )
    return {
        "one_step_score": energy_score(one, x1),
        "one_step_spread": spread(one),
        "many_step_score": energy_score(many, x1),
    }
