"""How the rate goes over a run: a linear warm-up, then a cosine to a fraction of it, or level."""

import math
from abc import ABC, abstractmethod

from calm_ft.training.settings import require_integer, require_number


class Schedule(ABC):
    """The fraction of the rate at an optimizer step; the warm-up's last step has the whole rate."""

    def __init__(self, num_warmup_steps: int) -> None:
        """Raises UserError for a negative number of steps."""
        require_integer("optimizer.schedule.num_warmup_steps", num_warmup_steps, at_least=0)
        self.num_warmup_steps = num_warmup_steps

    def lr_fraction(self, step: int, num_steps: int) -> float:
        """Fraction at `step` (from 0) of `num_steps`: (step + 1) / warm-up, then as the schedule has it."""
        num_warmup_steps = self.warmup_within(num_steps)
        if step < num_warmup_steps:
            return (step + 1) / num_warmup_steps
        return self.after_warmup(min(1.0, (step - num_warmup_steps) / max(1, num_steps - num_warmup_steps)))

    def warmup_within(self, num_steps: int) -> int:
        """At most half of a run's steps: it would not reach its rate otherwise."""
        return min(self.num_warmup_steps, num_steps // 2)

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """Fraction of the rate at `progress` in [0, 1] of the steps after the warm-up."""


class CosineSchedule(Schedule):
    """Half a cosine from the whole rate to `final_lr_fraction` of it, which the step after the last one would have."""

    def __init__(self, num_warmup_steps: int, final_lr_fraction: float = 0.0) -> None:
        """Raises UserError for a fraction outside [0, 1]."""
        super().__init__(num_warmup_steps)
        require_number("optimizer.schedule.final_lr_fraction", final_lr_fraction, at_least=0, at_most=1)
        self.final_lr_fraction = final_lr_fraction

    def after_warmup(self, progress: float) -> float:
        return self.final_lr_fraction + (1 - self.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2


class ConstantSchedule(Schedule):
    """The whole rate after the warm-up: a run may be made longer without changing what it did so far."""

    def warmup_within(self, num_steps: int) -> int:
        return self.num_warmup_steps

    def after_warmup(self, progress: float) -> float:
        return 1.0
