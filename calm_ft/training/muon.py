"""Muon for hidden matrices and AdamW for everything else, as one optimizer with one schedule.

Muon (Jordan et al. 2024, torch.optim.Muon) orthogonalises the momentum of two-dimensional hidden weights; its rate is
scaled to AdamW's update size (Liu et al., arXiv 2502.16982), so that both parts take rates of one kind. Embeddings,
biases, norms and the first and last projections go to AdamW, as its authors advise.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import TrainedComponent
from calm_ft.training.optimizers import AdamWFactory, decay_groups, split_by_decay


class MuonFactory(AdamWFactory):
    """`lr` is Muon's rate, `adamw_lr` the others'; schedule, decay and component rates as for AdamW."""

    def __init__(self, adamw_lr: float, **settings: Any) -> None:
        """Raises UserError as `AdamWFactory` does, for either rate."""
        self._adamw = AdamWFactory(**{**settings, "lr": adamw_lr})
        super().__init__(**settings)

    def optimizer(self, components: Sequence[TrainedComponent]) -> torch.optim.Optimizer:
        """Raises UserError where nothing that trains is a matrix inside a stack of blocks."""
        hidden_groups: list[dict[str, Any]] = []
        other_groups: list[dict[str, Any]] = []
        for each in components:
            decayed, undecayed = split_by_decay(each.module)
            hidden = matrices_in_stacks(each, decayed)
            chosen = {id(p) for p in hidden}
            others = [p for p in decayed if id(p) not in chosen]
            hidden_groups += decay_groups(each, hidden, [], self.lr, self.weight_decay)
            other_groups += decay_groups(each, others, undecayed, self._adamw.lr, self.weight_decay)
        if not hidden_groups:
            raise UserError(
                "Nothing that trains is a hidden matrix, so Muon has nothing to do: choose optimizer=adamw."
            )
        muon = torch.optim.Muon(
            hidden_groups, lr=self.lr, weight_decay=self.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        if not other_groups:
            return muon
        return JoinedOptimizer([muon, torch.optim.AdamW(other_groups, lr=self._adamw.lr, betas=self.betas)])


def matrices_in_stacks(component: TrainedComponent, candidates: list[Tensor]) -> list[Tensor]:
    """The two-dimensional candidates that lie in the component's repeated blocks."""
    hidden = {id(p) for block in component.blocks for p in block.parameters()}
    wanted = {id(p) for p in candidates if p.ndim == 2 and id(p) in hidden}
    return [p for p in component.module.parameters() if id(p) in wanted]


class JoinedOptimizer(torch.optim.Optimizer):
    """Several optimizers over disjoint parameters behind one interface; their groups are shared, not copied."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], defaults={})
        self.param_groups = groups
        self.optimizers = optimizers

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each; the closure runs once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """States in the order of the optimizers."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load states saved by `state_dict`."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
