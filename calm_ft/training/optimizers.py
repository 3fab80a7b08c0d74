"""Optimizers with their schedule: linear warm-up, then cosine decay to a fraction of the rate."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from calm_ft.training.settings import require_integer, require_number


class OptimizerFactory(ABC):
    """Builds an optimizer over what requires gradients."""

    lr: float

    @abstractmethod
    def build(self, module: nn.Module, num_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimizer and its schedule over `num_steps` optimizer steps."""


class AdamWWithCosine(OptimizerFactory):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101); no decay on biases, norms and embedding tables."""

    def __init__(
        self,
        lr: float,
        weight_decay: float,
        beta1: float,
        beta2: float,
        num_warmup_steps: int,
        final_lr_fraction: float,
    ) -> None:
        """Raises UserError for a rate that is not positive and other values out of range."""
        require_number("optimizer.lr", lr, above=0)
        require_number("optimizer.weight_decay", weight_decay, at_least=0)
        require_number("optimizer.beta1", beta1, at_least=0, below=1)
        require_number("optimizer.beta2", beta2, at_least=0, below=1)
        require_integer("optimizer.num_warmup_steps", num_warmup_steps, at_least=0)
        require_number("optimizer.final_lr_fraction", final_lr_fraction, at_least=0, at_most=1)
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = (beta1, beta2)
        self.num_warmup_steps = num_warmup_steps
        self.final_lr_fraction = final_lr_fraction

    def build(self, module: nn.Module, num_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        decayed, undecayed = split_by_decay(module)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=self.betas)
        return optimizer, self.schedule(optimizer, num_steps)

    def schedule(self, optimizer: torch.optim.Optimizer, num_steps: int) -> LambdaLR:
        """Every group's rate times `lr_fraction` of the optimizer step."""
        return LambdaLR(optimizer, lambda step: self.lr_fraction(step, num_steps))

    def lr_fraction(self, step: int, num_steps: int) -> float:
        """Fraction of the rate at an optimizer step: (step + 1) / warm-up, then half a cosine.

        The warm-up's last step has the whole rate, the step after the last one the final fraction. A run that is
        shorter than twice the warm-up spends half its steps on it: it would not reach its rate otherwise.
        """
        num_warmup_steps = min(self.num_warmup_steps, num_steps // 2)
        if step < num_warmup_steps:
            return (step + 1) / num_warmup_steps
        progress = min(1.0, (step - num_warmup_steps) / (num_steps - num_warmup_steps))
        return self.final_lr_fraction + (1 - self.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2


def split_by_decay(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """(matrices, everything else) among the parameters that require gradients.

    A text table decayed would shrink the rows of tokens that the data never shows.
    """
    tables = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in tables]
    kept = {id(p) for p in decayed}
    return decayed, [p for p in trained if id(p) not in kept]
