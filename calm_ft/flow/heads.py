"""How this package calls a flow head.

A head is an nn.Module that is called as `head(cond [N, D], *times, x [N, C]) -> [N, C]`, each time `[N, 1]`, or with K
points for each row as x `[K, N, C]`. It states how many times it takes in its attribute `num_time_conds` (upstream's
name, pocket_tts/modules/mlp.py). Two: a flow map's average velocity v(s, t, x). One: an instantaneous velocity v(t, x).
A velocity function has its condition already bound and is always called as `velocity_fn(s, t, x)`; a head with one
time has only the diagonal s = t.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

VelocityFn = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
ConditionalVelocityFn = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class HasTimeDerivative(ABC):
    """For a head with two times that gives its derivative in the end time faster than forward mode would."""

    @abstractmethod
    def velocity_and_derivative(
        self, cond: torch.Tensor, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """v(s, t, x) and dv/dt, both `[N, C]`; gradients flow through both."""


@dataclass(frozen=True)
class BoundHead:
    """The velocity function of a head with its condition bound."""

    head: nn.Module
    cond: torch.Tensor

    def __call__(self, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if head_time_conditions(self.head) == 1:
            return self.head(self.cond, t, x)
        return self.head(self.cond, s, t, x)


def head_time_conditions(head: nn.Module) -> int:
    """How many times the head takes: 2 (LSD), 1 (flow matching), 0 (one-step heads; none is trained here)."""
    return int(head.num_time_conds)  # type: ignore[arg-type]


def bind_condition(head: nn.Module, cond: torch.Tensor) -> BoundHead:
    """`velocity_fn(s, t, x)` of a head with one or two times; with one, s must equal t and is dropped."""
    return BoundHead(head, cond)
