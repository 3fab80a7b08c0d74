"""Training objectives: draw noise and times, call the pure losses, weight, average.

The default is `0.75 flow matching + 0.25 LSD`, CALM's proportions (arXiv:2509.06926), each term the mean over
its own rows. LSD costs a forward derivative and a target evaluation more than flow matching, so it runs on a
quarter of the rows. (Upstream runs it on all rows of a quarter of the steps; the expected gradient is the
same and each step of ours sees both terms.)

The head stays on the linear path under every schedule: see `interpolant`. Conditions and latents arrive as
rows `[N, D]` and `[N, C]` of valid frames only, so that a mean over rows is a mean over frames.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from calm_ft.errors import UserError
from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.heads import bind_condition, head_time_conditions
from calm_ft.flow.interpolant import Interpolant
from calm_ft.flow.loss_weighting import LossWeighting
from calm_ft.flow.lsd import lsd_residual
from calm_ft.flow.precision import at_least_float32, without_autocast
from calm_ft.flow.stop_gradient import StopGradient
from calm_ft.flow.time_sampling import TimeSampler, sorted_pairs


@dataclass(frozen=True)
class ObjectiveOutput:
    """The scalar to differentiate, and detached scalars to log.

    Parts, for each term T of `flow` and `lsd`: `T`, the term's loss as it enters the total (before the term's
    own coefficient), and `T_residual`, its plain residual on the linear path. Neither compares between
    objectives, whose times differ: `validation.validation_residuals` does.
    """

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Term:
    loss: torch.Tensor
    residual: torch.Tensor

    def parts(self, name: str) -> dict[str, torch.Tensor]:
        return {name: self.loss.detach(), f"{name}_residual": self.residual.detach()}


class Objective(nn.Module, ABC):
    """A loss of a head, a condition and data; may have parameters of its own (a learned weighting)."""

    num_time_conditions: int

    def __init__(self, interpolant: Interpolant, time_sampler: TimeSampler, weighting: LossWeighting) -> None:
        super().__init__()
        self.interpolant = interpolant
        self.time_sampler = time_sampler
        self.weighting = weighting

    def check_head(self, head: nn.Module) -> None:
        """Raise UserError if the head has fewer time conditions than this objective asks for."""
        found = head_time_conditions(head)
        if found < self.num_time_conditions:
            raise UserError(
                f"objective {type(self).__name__} needs a flow head with {self.num_time_conditions} time "
                f"condition(s) but this model's has {found}: take a model with an LSD head, or "
                "objective=flow_matching if the head has one."
            )

    def forward(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator) -> ObjectiveOutput:
        """The loss of `head` on N >= 1 rows.

        Args:
            head: called as head(cond, s, t, x), or head(cond, t, x) with one time; float32 or wider.
            cond: `[N, D]`, the backbone's output; gradients flow back to it.
            x1: `[N, C]`, normalised latents.
            rng: CPU generator; all noise, times and row choices come from it, in this order.

        Raises:
            UserError: the head has too few time conditions.
        """
        self.check_head(head)
        assert x1.shape[0] > 0, "no rows to train on"
        with without_autocast(x1.device):
            return self.compute(head, at_least_float32(cond), at_least_float32(x1), rng)

    @abstractmethod
    def compute(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator) -> ObjectiveOutput:
        """`forward` without its checks and casts; the same arguments."""

    def _flow_term(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator) -> _Term:
        """Flow matching on all rows."""
        x0 = _noise_like(x1, rng)
        tau = self.time_sampler.sample(len(x1), rng).to(x1)
        residual = flow_matching_residual(bind_condition(head, cond), x0, x1, self.interpolant.head_time(tau))
        return self._weighted(residual, tau, tau)

    def _weighted(self, residual: torch.Tensor, s: torch.Tensor, t: torch.Tensor) -> _Term:
        """The schedule's weight at the end time t on residuals `[N]`, then the learned one if any."""
        scheduled = self.interpolant.residual_weight(t).squeeze(-1) * residual
        return _Term(loss=self.weighting(scheduled, s, t).mean(), residual=residual.mean())


@final
class FlowMatching(Objective):
    """Flow matching alone: for heads with one time condition, and for the diagonal of heads with two."""

    num_time_conditions = 1

    def compute(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator) -> ObjectiveOutput:
        flow = self._flow_term(head, cond, x1, rng)
        return ObjectiveOutput(total=flow.loss, parts=flow.parts("flow"))


@final
class FlowMatchingWithLSD(Objective):
    """flow_weight * flow matching on all rows + lsd_weight * LSD on a random lsd_fraction of them."""

    num_time_conditions = 2

    def __init__(
        self,
        interpolant: Interpolant,
        time_sampler: TimeSampler,
        weighting: LossWeighting,
        stop_gradient: StopGradient,
        flow_weight: float = 0.75,
        lsd_weight: float = 0.25,
        lsd_fraction: float = 0.25,
    ) -> None:
        """Raises UserError if lsd_fraction is not in (0, 1]."""
        super().__init__(interpolant, time_sampler, weighting)
        if not 0 < lsd_fraction <= 1:
            raise UserError(
                f"objective.lsd_fraction is {lsd_fraction}, but must be above 0 and at most 1; "
                "to train without LSD use objective=flow_matching."
            )
        self.stop_gradient = stop_gradient
        self.flow_weight = flow_weight
        self.lsd_weight = lsd_weight
        self.lsd_fraction = lsd_fraction

    def compute(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator) -> ObjectiveOutput:
        flow = self._flow_term(head, cond, x1, rng)
        rows = self._choose_rows(len(x1), rng).to(x1.device)
        lsd = self._lsd_term(head, cond[rows], x1[rows], rng)
        total = self.flow_weight * flow.loss + self.lsd_weight * lsd.loss
        return ObjectiveOutput(total=total, parts=flow.parts("flow") | lsd.parts("lsd"))

    def _choose_rows(self, num_rows: int, rng: torch.Generator) -> torch.Tensor:
        num_chosen = max(1, round(self.lsd_fraction * num_rows))
        return torch.randperm(num_rows, generator=rng)[:num_chosen]

    def _lsd_term(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator) -> _Term:
        x0 = _noise_like(x1, rng)
        sigma, tau = (time.to(x1) for time in sorted_pairs(self.time_sampler, len(x1), rng))
        target = self.stop_gradient.target(head)
        residual = lsd_residual(
            velocity_fn=bind_condition(head, cond),
            target_velocity_fn=lambda s, t, x: target(cond, s, t, x),
            x0=x0,
            x1=x1,
            s=self.interpolant.head_time(sigma),
            t=self.interpolant.head_time(tau),
        )
        return self._weighted(residual, sigma, tau)


def _noise_like(x1: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Standard normal noise, drawn in float32 on the CPU so that every device and width sees the same."""
    return torch.randn(x1.shape, generator=rng).to(x1)
