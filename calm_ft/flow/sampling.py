"""From noise to latents, and guidance of the condition.

A flow map jumps, x <- X_{s,t}(x), in one step or in several over equal intervals; an instantaneous velocity
is integrated with Euler steps. Both do what upstream's `lsd_decode` and `ot_decode`
(pocket_tts/models/flow_lm.py) do. Guidance is on the backbone's output and not on the velocity (CALM,
arXiv:2509.06926, on classifier-free guidance): z = z_null + cfg_coef (z_cond - z_null). A temperature is the
variance of the noise x0, so callers scale it by its root.
"""

from collections.abc import Callable

import torch

from calm_ft.flow.heads import VelocityFn


def sample_flow_map(velocity_fn: VelocityFn, x0: torch.Tensor, num_steps: int = 1) -> torch.Tensor:
    """Latents `[N, C]` from noise x0 `[N, C]` by num_steps jumps; velocity_fn takes (s, t, x)."""
    return flow_map_trajectory(velocity_fn, x0, num_steps)[-1]


def flow_map_trajectory(velocity_fn: VelocityFn, x0: torch.Tensor, num_steps: int) -> torch.Tensor:
    """All points of the way from x0 `[N, C]` by num_steps jumps, the first and the last among them: `[K + 1, N, C]`."""
    points = [x0]
    for step in range(num_steps):
        s = torch.full_like(x0[:, :1], step / num_steps)
        t = torch.full_like(x0[:, :1], (step + 1) / num_steps)
        points.append(points[-1] + velocity_fn(s, t, points[-1]) / num_steps)
    return torch.stack(points)


def sample_euler(
    velocity_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x0: torch.Tensor, num_steps: int = 16
) -> torch.Tensor:
    """Latents `[N, C]` from noise x0 `[N, C]` by Euler steps; velocity_fn takes (t, x)."""
    x = x0
    for step in range(num_steps):
        t = torch.full_like(x0[:, :1], step / num_steps)
        x = x + velocity_fn(t, x) / num_steps
    return x


def guide(z_cond: torch.Tensor, z_null: torch.Tensor, cfg_coef: float) -> torch.Tensor:
    """The guided condition `[N, D]`: 0 is unconditional, 1 is conditional, above 1 extrapolates."""
    return z_null + cfg_coef * (z_cond - z_null)
