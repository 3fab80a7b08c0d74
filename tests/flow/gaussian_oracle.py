"""The closed-form flow map between two Gaussians, and an impostor that LSD alone tells from it.

Noise N(0, 1), data N(0, d^2), linear path, independent coordinates: the marginal at t has standard deviation
sig(t) = sqrt((1-t)^2 + (t d)^2), the flow map is X_{s,t}(x) = x sig(t) / sig(s), and its average velocity,
written without the difference quotient, has no singularity at s = t.
"""

import torch

from calm_ft.flow.interpolant import QUARTER_TURN

DATA_STD = 0.3


def marginal_std(t: torch.Tensor) -> torch.Tensor:
    return torch.sqrt((1 - t) ** 2 + (t * DATA_STD) ** 2)


def cosine_marginal_std(tau: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(torch.cos(QUARTER_TURN * tau) ** 2 + (DATA_STD * torch.sin(QUARTER_TURN * tau)) ** 2)


def average_velocity(s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    rate = (-(2 - s - t) + DATA_STD**2 * (s + t)) / ((marginal_std(t) + marginal_std(s)) * marginal_std(s))
    return x * rate


def impostor_velocity(s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Right on the diagonal and nowhere else: the instantaneous velocity at t."""
    return average_velocity(t, t, x)


def draw(num_rows: int, num_channels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and data `[N, C]`, float64."""
    rng = torch.Generator().manual_seed(seed)
    x0, x1 = torch.randn(2, num_rows, num_channels, generator=rng, dtype=torch.float64)
    return x0, DATA_STD * x1
