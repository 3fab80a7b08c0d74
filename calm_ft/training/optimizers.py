"""Optimizers over the components that train: each component's rate, and what is decayed."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from calm_ft.finetuning.strategy import TrainedComponent
from calm_ft.training.schedules import Schedule
from calm_ft.training.settings import require_number


class OptimizerFactory(ABC):
    """Builds an optimizer over what trains, with its schedule."""

    lr: float
    schedule: Schedule

    @abstractmethod
    def optimizer(self, components: Sequence[TrainedComponent]) -> torch.optim.Optimizer:
        """The optimizer, every group at its own whole rate."""

    def build(self, components: Sequence[TrainedComponent], num_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimizer and its schedule over `num_steps` optimizer steps, on every group's rate alike."""
        optimizer = self.optimizer(components)
        return optimizer, LambdaLR(optimizer, lambda step: self.schedule.lr_fraction(step, num_steps))


class AdamWFactory(OptimizerFactory):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101); no decay on biases, norms and embedding tables."""

    def __init__(
        self, lr: float, schedule: Schedule, weight_decay: float = 0.01, beta1: float = 0.9, beta2: float = 0.99
    ) -> None:
        """Raises UserError for a rate that is not positive and other values out of range."""
        require_number("optimizer.lr", lr, above=0)
        require_number("optimizer.weight_decay", weight_decay, at_least=0)
        require_number("optimizer.beta1", beta1, at_least=0, below=1)
        require_number("optimizer.beta2", beta2, at_least=0, below=1)
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = (beta1, beta2)
        self.schedule = schedule

    def optimizer(self, components: Sequence[TrainedComponent]) -> torch.optim.Optimizer:
        groups = [
            group
            for each in components
            for group in decay_groups(each, *split_by_decay(each.module), self.lr, self.weight_decay)
        ]
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas)


def decay_groups(
    component: TrainedComponent, decayed: list[Tensor], undecayed: list[Tensor], lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """One component's parameter groups, those that are not empty, at its own rate."""
    both = ((decayed, weight_decay), (undecayed, 0.0))
    named = {"lr": lr * component.lr_factor, "component": component.name}
    return [{"params": params, "weight_decay": decay, **named} for params, decay in both if params]


def split_by_decay(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """(matrices, everything else) among the parameters that require gradients.

    A text table decayed would shrink the rows of tokens that the data never shows; a learned entry such as
    `bos_before_voice` [1, 1, D] is no matrix, however many axes it has.
    """
    tables = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in tables and not _is_one_entry(p)]
    kept = {id(p) for p in decayed}
    return decayed, [p for p in trained if id(p) not in kept]


def _is_one_entry(parameter: Tensor) -> bool:
    return parameter.ndim > 2 and parameter.numel() == parameter.shape[-1]
