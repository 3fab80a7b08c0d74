"""Draws of the noise at the beginning of the path, and how many of them share their times.

With its mirror image, noise gives the gradient of a time with less variance than two independent draws do (antithetic
variates, Hammersley and Morton 1956): to first order the residual is linear in the noise, and what is linear cancels.
On the embedded model's flow head two times of two mirrored draws have three quarters of the variance of four
independent draws (docs/results.md), and what a head computes of condition and times alone is half as much.
"""

from abc import ABC, abstractmethod
from typing import final

import torch


class NoiseSampler(ABC):
    """Standard normal noise for rows that have one time (or pair of times) each."""

    num_per_time: int
    """K, draws of noise that share their times."""

    @abstractmethod
    def sample(self, num_rows: int, num_channels: int, rng: torch.Generator) -> torch.Tensor:
        """Noise `[K, N, C]`, float32 on the CPU; independent between rows."""


@final
class IndependentNoise(NoiseSampler):
    """One draw for each time, as in CALM (arXiv:2509.06926) and upstream's training."""

    num_per_time = 1

    def sample(self, num_rows: int, num_channels: int, rng: torch.Generator) -> torch.Tensor:
        return torch.randn(1, num_rows, num_channels, generator=rng)


@final
class MirroredNoise(NoiseSampler):
    """A draw and its mirror image for each time."""

    num_per_time = 2

    def sample(self, num_rows: int, num_channels: int, rng: torch.Generator) -> torch.Tensor:
        noise = torch.randn(num_rows, num_channels, generator=rng)
        return torch.stack([noise, -noise])
