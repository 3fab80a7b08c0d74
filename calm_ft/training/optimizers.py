"""Optimizers with their schedule: linear warm-up, then cosine decay to a fraction of the rate."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from calm_ft.errors import UserError


class OptimizerFactory(ABC):
    """Builds an optimizer over what requires gradients."""

    lr: float

    @abstractmethod
    def build(self, module: nn.Module, num_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimizer and its schedule over `num_steps` optimizer steps."""


class AdamWWithCosine(OptimizerFactory):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101); no decay on biases, norms and embedding tables."""

    def __init__(
        self, lr: float, weight_decay: float, beta1: float, beta2: float, num_warmup_steps: int, final_lr_fraction: float
    ) -> None:
        """Raises UserError for a rate that is not positive and a negative decay or warm-up."""
        if not lr > 0 or not math.isfinite(lr):
            raise UserError(f"optimizer.lr={lr} is not a learning rate: it must be positive, for example 3e-4.")
        if weight_decay < 0 or num_warmup_steps < 0:
            raise UserError("optimizer.weight_decay and optimizer.num_warmup_steps must not be negative.")
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = (beta1, beta2)
        self.num_warmup_steps = num_warmup_steps
        self.final_lr_fraction = final_lr_fraction

    def build(self, module: nn.Module, num_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        decayed, undecayed = split_by_decay(module)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=self.betas)
        return optimizer, LambdaLR(optimizer, lambda step: self.lr_fraction(step, num_steps))

    def lr_fraction(self, step: int, num_steps: int) -> float:
        """Fraction of the rate at an optimizer step: (step + 1) / warm-up, then half a cosine."""
        if step < self.num_warmup_steps:
            return (step + 1) / self.num_warmup_steps
        progress = min(1.0, (step - self.num_warmup_steps) / max(1, num_steps - self.num_warmup_steps))
        return self.final_lr_fraction + (1 - self.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2


def split_by_decay(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """(matrices, everything else) among the parameters that require gradients.

    A text table decayed would shrink the rows of tokens that the data never shows.
    """
    tables = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in tables]
    kept = {id(p) for p in decayed}
    return decayed, [p for p in trained if id(p) not in kept]
