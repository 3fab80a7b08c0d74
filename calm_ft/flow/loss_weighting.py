"""Weights on the residuals, row by row.

Learned uncertainty (arXiv:1705.07115; with a net over times arXiv:2312.02696 and 2505.18825) turns a residual
r into

    exp(-w(s, t)) r + w(s, t).

Its minimum over w is exp(w) = E[r | s, t]: each pair of times comes to weigh the same, and any factor that
depends on the times alone, such as the cosine schedule's weight, is divided out. What the schedule then still
sets is the law of times.

The net must start at w = 0 and yet learn. Zeroing every layer with ReLU between them does not do: hidden
activations and their gradients are zero for ever, so only the last bias moves and w is one number. Here only
the last layer starts at zero; the first step moves it, and from the second on every layer has a gradient.
"""

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import nn


class LossWeighting(nn.Module, ABC):
    """Maps residuals to losses; may have parameters of its own, trained along with the head."""

    @abstractmethod
    def forward(self, residual: torch.Tensor, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Losses `[N]` or `[K, N]` from as many residuals at times s and t, each `[N, 1]`, in the schedule's time."""


@final
class NoWeighting(LossWeighting):
    """The residual itself."""

    def forward(self, residual: torch.Tensor, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return residual


@final
class LearnedUncertainty(LossWeighting):
    """exp(-w) r + w with w(s, t) a small net on Fourier features; zero everywhere at the start.

    The features are cos and sin of k pi s and k pi t: half periods, so that the two ends of time stay apart.
    """

    half_frequencies: torch.Tensor

    def __init__(self, num_frequencies: int = 4, hidden_dim: int = 64) -> None:
        super().__init__()
        self.register_buffer(
            "half_frequencies", math.pi * torch.arange(1, num_frequencies + 1).float(), persistent=False
        )
        last = nn.Linear(hidden_dim, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(
            nn.Linear(4 * num_frequencies, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            last,
        )

    def log_scale(self, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """w(s, t), `[N]`."""
        angles = torch.cat([s, t], dim=-1).to(self.half_frequencies)[:, :, None] * self.half_frequencies
        features = torch.cat([angles.cos(), angles.sin()], dim=-1).flatten(start_dim=1)
        return self.net(features).squeeze(-1)

    def forward(self, residual: torch.Tensor, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        log_scale = self.log_scale(s, t)
        return torch.exp(-log_scale) * residual + log_scale
