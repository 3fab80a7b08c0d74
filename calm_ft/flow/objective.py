"""Training objectives: draw noise and times, call the pure losses, weight, average.

The default is `0.75 flow matching + 0.25 LSD`, CALM's proportions (arXiv:2509.06926), each term the mean over
its own rows. LSD costs a forward derivative and a target evaluation more than flow matching, so it runs on a
quarter of the rows. (Upstream runs it on all rows of a quarter of the steps; the expected gradient is the
same and each step of ours sees both terms.)

The head stays on the linear path under every schedule: see `interpolant`. Conditions and latents arrive as
rows `[N, D]` and `[N, C]` of valid frames only, so that a mean over rows is a mean over frames. A row has one time (or
pair of times) and K draws of noise, `[K, N, C]`: what condition and times alone decide is computed once for K draws.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import final

import torch
from torch import nn

from calm_ft.errors import UserError
from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.heads import bind_condition, head_time_conditions
from calm_ft.flow.interpolant import Interpolant
from calm_ft.flow.loss_weighting import LossWeighting
from calm_ft.flow.lsd import lsd_residual
from calm_ft.flow.noise_sampling import IndependentNoise, NoiseSampler
from calm_ft.flow.precision import at_least_float32, without_autocast
from calm_ft.flow.stop_gradient import StopGradient
from calm_ft.flow.time_sampling import TimeSampler, sorted_pairs


@dataclass(frozen=True)
class Term:
    """One term of an objective as a sum over its rows, so that processes can join theirs before dividing.

    weight: its coefficient in the total; loss_sum and residual_sum: scalars, the weighted loss and the detached plain
    residual; num_rows: how many rows they sum.
    """

    weight: float
    loss_sum: torch.Tensor
    residual_sum: torch.Tensor
    num_rows: int

    def parts(self, name: str) -> dict[str, torch.Tensor]:
        """Detached means under the names that are logged."""
        return {
            name: self.loss_sum.detach() / self.num_rows,
            f"{name}_residual": self.residual_sum / self.num_rows,
        }


@dataclass(frozen=True)
class ObjectiveOutput:
    """The terms `flow` and `lsd`, each with its coefficient.

    Parts, for each term T: `T`, the term's mean loss as it enters the total (before the term's own coefficient),
    and `T_residual`, its plain residual on the linear path. Neither compares between objectives, whose times
    differ: `validation.validation_residuals` does.
    """

    terms: dict[str, Term]

    @property
    def total(self) -> torch.Tensor:
        """The scalar to differentiate where these rows are all there are."""
        return torch.stack([term.weight * term.loss_sum / term.num_rows for term in self.terms.values()]).sum()

    @property
    def parts(self) -> dict[str, torch.Tensor]:
        """Detached scalars to log."""
        return {part: value for name, term in self.terms.items() for part, value in term.parts(name).items()}


@dataclass(frozen=True)
class Draws:
    """All that is random in one evaluation of N rows: float32 on the CPU, so that every device sees the same.

    x0 `[K, N, C]` and tau `[N, 1]` for flow matching; for LSD the chosen rows `[M]`, their noise x0_lsd `[K, M, C]` and
    the sorted times sigma <= tau_lsd, `[M, 1]` (M = 0 without LSD).
    """

    x0: torch.Tensor
    tau: torch.Tensor
    rows: torch.Tensor
    x0_lsd: torch.Tensor
    sigma: torch.Tensor
    tau_lsd: torch.Tensor

    @staticmethod
    def joined(draws: Sequence["Draws"]) -> "Draws":
        """The draws of consecutive blocks of rows as those of all the rows."""
        starts = [0, *accumulate(len(each.tau) for each in draws)]
        return Draws(
            x0=torch.cat([each.x0 for each in draws], dim=1),
            tau=torch.cat([each.tau for each in draws]),
            rows=torch.cat([each.rows + start for each, start in zip(draws, starts, strict=False)]),
            x0_lsd=torch.cat([each.x0_lsd for each in draws], dim=1),
            sigma=torch.cat([each.sigma for each in draws]),
            tau_lsd=torch.cat([each.tau_lsd for each in draws]),
        )


class Objective(nn.Module, ABC):
    """A loss of a head, a condition and data; may have parameters of its own (a learned weighting)."""

    num_time_conditions: int

    def __init__(
        self,
        interpolant: Interpolant,
        time_sampler: TimeSampler,
        weighting: LossWeighting,
        noise_sampler: NoiseSampler | None = None,
    ) -> None:
        """noise_sampler: None draws independently, as the runs did that were saved without one."""
        super().__init__()
        self.interpolant = interpolant
        self.time_sampler = time_sampler
        self.weighting = weighting
        self.noise_sampler = noise_sampler or IndependentNoise()

    def check_head(self, head: nn.Module) -> None:
        """Raise UserError if the head has fewer time conditions than this objective asks for."""
        found = head_time_conditions(head)
        if found < self.num_time_conditions:
            raise UserError(
                f"The objective {type(self).__name__} needs a flow head with {self.num_time_conditions} time "
                f"conditions, but the head of this model has {found}: choose objective=flow_matching (for a head with "
                "one), or a model with an LSD head."
            )

    def forward(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, rng: torch.Generator) -> ObjectiveOutput:
        """`evaluate` with all of its draws from one CPU generator."""
        return self.evaluate(head, cond, x1, self.draw(len(x1), x1.shape[1], rng))

    def evaluate(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, draws: Draws) -> ObjectiveOutput:
        """The loss of `head` on N >= 1 rows.

        Args:
            head: called as head(cond, s, t, x), or head(cond, t, x) with one time; float32 or wider.
            cond: `[N, D]`, the backbone's output; gradients flow back to it.
            x1: `[N, C]`, normalised latents.

        Raises:
            UserError: the head has too few time conditions.
        """
        self.check_head(head)
        assert x1.shape[0] > 0, "no rows to train on"
        with without_autocast(x1.device):
            return self.compute(head, at_least_float32(cond), at_least_float32(x1), draws)

    @abstractmethod
    def draw(self, num_rows: int, num_channels: int, rng: torch.Generator) -> Draws:
        """Noise, times and row choices for `num_rows` rows; all of it from `rng`."""

    @abstractmethod
    def compute(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, draws: Draws) -> ObjectiveOutput:
        """`evaluate` without its checks and casts; the same arguments."""

    def _draw_flow(self, num_rows: int, num_channels: int, rng: torch.Generator) -> Draws:
        x0 = self.noise_sampler.sample(num_rows, num_channels, rng)
        tau = self.time_sampler.sample(num_rows, rng)
        none = torch.zeros(0, 1)
        return Draws(x0, tau, torch.zeros(0, dtype=torch.long), x0[:, :0], none, none)

    def _flow_term(
        self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, draws: Draws, weight: float = 1.0
    ) -> Term:
        """Flow matching on all rows."""
        tau = draws.tau.to(x1)
        times = self.interpolant.head_time(tau)
        residual = flow_matching_residual(bind_condition(head, cond), draws.x0.to(x1), x1, times)
        return self._weighted(weight, residual, tau, tau)

    def _weighted(self, weight: float, residual: torch.Tensor, s: torch.Tensor, t: torch.Tensor) -> Term:
        """The schedule's weight at the end time t on residuals `[K, N]`, then the learned one if any."""
        scheduled = self.interpolant.residual_weight(t).squeeze(-1) * residual
        return Term(weight, self.weighting(scheduled, s, t).sum(), residual.detach().sum(), residual.numel())


@final
class FlowMatching(Objective):
    """Flow matching alone: for heads with one time condition, and for the diagonal of heads with two."""

    num_time_conditions = 1

    def draw(self, num_rows: int, num_channels: int, rng: torch.Generator) -> Draws:
        return self._draw_flow(num_rows, num_channels, rng)

    def compute(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, draws: Draws) -> ObjectiveOutput:
        return ObjectiveOutput({"flow": self._flow_term(head, cond, x1, draws)})


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
        noise_sampler: NoiseSampler | None = None,
    ) -> None:
        """Raises UserError if lsd_fraction is not in (0, 1]."""
        super().__init__(interpolant, time_sampler, weighting, noise_sampler)
        if not 0 < lsd_fraction <= 1:
            raise UserError(
                f"objective.lsd_fraction is {lsd_fraction}, but must be above 0 and at most 1; "
                "to train without LSD use objective=flow_matching."
            )
        self.stop_gradient = stop_gradient
        self.flow_weight = flow_weight
        self.lsd_weight = lsd_weight
        self.lsd_fraction = lsd_fraction

    def draw(self, num_rows: int, num_channels: int, rng: torch.Generator) -> Draws:
        flow = self._draw_flow(num_rows, num_channels, rng)
        num_chosen = max(1, round(self.lsd_fraction * num_rows))
        rows = torch.randperm(num_rows, generator=rng)[:num_chosen]
        x0 = self.noise_sampler.sample(num_chosen, num_channels, rng)
        sigma, tau = sorted_pairs(self.time_sampler, num_chosen, rng)
        return replace(flow, rows=rows, x0_lsd=x0, sigma=sigma, tau_lsd=tau)

    def compute(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, draws: Draws) -> ObjectiveOutput:
        flow = self._flow_term(head, cond, x1, draws, self.flow_weight)
        rows = draws.rows.to(x1.device)
        lsd = self._lsd_term(head, cond[rows], x1[rows], draws)
        return ObjectiveOutput({"flow": flow, "lsd": lsd})

    def _lsd_term(self, head: nn.Module, cond: torch.Tensor, x1: torch.Tensor, draws: Draws) -> Term:
        sigma, tau = draws.sigma.to(x1), draws.tau_lsd.to(x1)
        target = self.stop_gradient.target(head)
        residual = lsd_residual(
            velocity_fn=bind_condition(head, cond),
            target_velocity_fn=lambda s, t, x: target(cond, s, t, x),
            x0=draws.x0_lsd.to(x1),
            x1=x1,
            s=self.interpolant.head_time(sigma),
            t=self.interpolant.head_time(tau),
        )
        return self._weighted(self.lsd_weight, residual, sigma, tau)
