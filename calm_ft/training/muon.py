"""Muon for hidden matrices and AdamW for everything else, as one optimizer with one schedule.

Muon (Jordan et al. 2024, torch.optim.Muon) orthogonalises the momentum of two-dimensional hidden weights; its rate is
scaled to AdamW's update size (Liu et al., arXiv 2502.16982), so that both parts take rates of one kind. Embeddings,
biases, norms and the first and last projections go to AdamW, as its authors advise.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from calm_ft.errors import UserError
from calm_ft.training.optimizers import AdamWWithCosine, split_by_decay

STACKS = ("layers", "res_blocks")  # upstream's names for the repeated blocks of backbone and flow head


class MuonWithCosine(AdamWWithCosine):
    """`lr` is Muon's rate, `adamw_lr` the others'; schedule and decay as for AdamW."""

    def __init__(self, adamw_lr: float, **settings: Any) -> None:
        """Raises UserError as `AdamWWithCosine` does, for either rate."""
        self._adamw = AdamWWithCosine(**{**settings, "lr": adamw_lr})
        super().__init__(**settings)

    def build(self, module: nn.Module, num_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Raises UserError where nothing that trains is a matrix inside a stack of blocks."""
        decayed, undecayed = split_by_decay(module)
        hidden = matrices_in_stacks(module, decayed)
        if not hidden:
            raise UserError(
                "Nothing that trains is a hidden matrix, so Muon has nothing to do: choose optimizer=adamw."
            )
        chosen = {id(p) for p in hidden}
        others = [p for p in decayed if id(p) not in chosen]
        muon = torch.optim.Muon(hidden, lr=self.lr, weight_decay=self.weight_decay, adjust_lr_fn="match_rms_adamw")
        groups = [{"params": others, "weight_decay": self.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
        adamw = torch.optim.AdamW(groups, lr=self._adamw.lr, betas=self.betas)
        optimizer = JoinedOptimizer([muon, adamw])
        return optimizer, self.schedule(optimizer, num_steps)


def matrices_in_stacks(module: nn.Module, candidates: list[Tensor]) -> list[Tensor]:
    """The two-dimensional candidates that belong to a numbered block (`layers.3`, `res_blocks.0`), by their names."""
    wanted = {id(p) for p in candidates if p.ndim == 2}
    return [p for name, p in module.named_parameters() if id(p) in wanted and _in_a_stack(name)]


def _in_a_stack(name: str) -> bool:
    parts = name.split(".")
    return any(part in STACKS and following.isdigit() for part, following in pairwise(parts))


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
