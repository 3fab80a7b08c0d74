"""Laws of the training times, in the schedule's own time tau (an interpolant's `head_time` maps them to the
head's).

The default is logit-normal(0.4, 1), tau = sigmoid(0.4 + n): upstream's recipe for these heads, and close to
what image flow models use (arXiv:2403.03206, section 3.1). LSD needs pairs s <= t: two independent draws,
sorted.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch


class TimePairs(NamedTuple):
    """Start and end times, each `[N, 1]`, with s <= t row by row."""

    s: torch.Tensor
    t: torch.Tensor


class TimeSampler(ABC):
    """A law of times on [0, 1]."""

    @abstractmethod
    def sample(self, num_rows: int, rng: torch.Generator) -> torch.Tensor:
        """Independent times `[N, 1]`, float32 on the CPU."""


@final
class UniformTimes(TimeSampler):
    """Every time equally often."""

    def sample(self, num_rows: int, rng: torch.Generator) -> torch.Tensor:
        return torch.rand(num_rows, 1, generator=rng)


@final
class LogitNormalTimes(TimeSampler):
    """sigmoid of a normal variable: mostly the middle of the path, its median at sigmoid(mean)."""

    def __init__(self, mean: float = 0.4, std: float = 1.0) -> None:
        self.mean = mean
        self.std = std

    def sample(self, num_rows: int, rng: torch.Generator) -> torch.Tensor:
        return torch.sigmoid(self.mean + self.std * torch.randn(num_rows, 1, generator=rng))


def sorted_pairs(sampler: TimeSampler, num_rows: int, rng: torch.Generator) -> TimePairs:
    """Two independent draws a row, the earlier one first."""
    first = sampler.sample(num_rows, rng)
    second = sampler.sample(num_rows, rng)
    return TimePairs(s=torch.minimum(first, second), t=torch.maximum(first, second))
