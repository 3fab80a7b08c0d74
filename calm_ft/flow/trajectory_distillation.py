"""A flow map learns in one jump what another one, or itself earlier, does in several.

The teacher's trajectory from a noise x0 is x_0, x_{1/K}, ..., x_1, each point a jump from the one before. Between any
two of its points the average velocity is (x_t - x_s) / (t - s): a target for v(s, t, x_s), the whole way (0, 1) among
them, which is what is played in one step. As in progressive distillation (Salimans and Ho 2022, arXiv 2202.00512), but
for all pairs of points, so that several steps stay as good as they were.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from calm_ft.flow.heads import VelocityFn
from calm_ft.flow.sampling import flow_map_trajectory

WHOLE_WAY_SHARE = 0.5


class TrajectoryDraws(NamedTuple):
    """Noise x0 [N, C], and the numbers of the points between which each row learns, start < end, [N]."""

    x0: Tensor
    start: Tensor
    end: Tensor


def draw_pieces(
    num_rows: int, num_channels: int, num_steps: int, temperature: float, rng: torch.Generator
) -> TrajectoryDraws:
    """Half of the rows go the whole way, from noise of the played temperature; the others any piece of it, from 1."""
    is_whole = torch.rand(num_rows, generator=rng) < WHOLE_WAY_SHARE
    points = torch.rand(num_rows, num_steps + 1, generator=rng).topk(2, dim=1).indices.sort(dim=1).values
    scale = torch.where(is_whole, temperature**0.5, 1.0)[:, None]
    x0 = scale * torch.randn(num_rows, num_channels, generator=rng)
    return TrajectoryDraws(x0, points[:, 0].masked_fill(is_whole, 0), points[:, 1].masked_fill(is_whole, num_steps))


def trajectory_residual(velocity_fn: VelocityFn, teacher: VelocityFn, draws: TrajectoryDraws, num_steps: int) -> Tensor:
    """Squared error [N], the mean over channels, of v(s, t, x_s) against the teacher's num_steps jumps."""
    with torch.no_grad():
        points = flow_map_trajectory(teacher, draws.x0, num_steps)
    rows = torch.arange(len(draws.x0), device=draws.x0.device)
    s, t = (each.to(draws.x0)[:, None] / num_steps for each in (draws.start, draws.end))
    x_s, x_t = points[draws.start, rows], points[draws.end, rows]
    return (velocity_fn(s, t, x_s) - (x_t - x_s) / (t - s)).square().mean(dim=-1)
