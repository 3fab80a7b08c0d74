"""Optimizers over what trains, each component at its own rate, and how the rate changes over a run.

Muon (Jordan et al. 2024) orthogonalises the momentum of two-dimensional hidden weights; its rate is scaled to the size
of AdamW's updates (Liu et al., arXiv 2502.16982), so that rates for both are of one kind. As its authors advise,
embeddings, biases, norms and the first and last projections are left to AdamW.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import TrainedComponent
from calm_ft.flow.precision import has_fast_bfloat16
from calm_ft.settings import (
    Fraction,
    FractionBelowOne,
    NonNegativeInteger,
    NonNegativeNumber,
    PositiveNumber,
    Settings,
)


class Schedule(Settings, ABC):
    """The fraction of the learning rate at an optimizer step, which rises linearly in the warm-up."""

    section = "optimizer.schedule"

    num_warmup_steps: NonNegativeInteger

    def lr_fraction(self, step: int, num_steps: int) -> float:
        """Fraction at `step` (from 0) of `num_steps`: (step + 1) / warm-up steps, then `after_warmup`."""
        num_warmup_steps = self.warmup_within(num_steps)
        if step < num_warmup_steps:
            return (step + 1) / num_warmup_steps
        return self.after_warmup(min(1.0, (step - num_warmup_steps) / max(1, num_steps - num_warmup_steps)))

    def warmup_within(self, num_steps: int) -> int:
        """Warm-up steps of a run: at most half of its steps, so that a short run reaches its whole rate."""
        return min(self.num_warmup_steps, num_steps // 2)

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """Fraction of the rate at `progress` in [0, 1] of the steps after the warm-up."""


class CosineSchedule(Schedule):
    """Half a cosine from the whole rate to `final_lr_fraction` of it, which the step after the last one would have."""

    final_lr_fraction: Fraction = 0.0

    def after_warmup(self, progress: float) -> float:
        return self.final_lr_fraction + (1 - self.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2


class ConstantSchedule(Schedule):
    """The whole rate after the warm-up: a run may be made longer without changing what it did so far."""

    def warmup_within(self, num_steps: int) -> int:
        return self.num_warmup_steps

    def after_warmup(self, progress: float) -> float:
        return 1.0


class OptimizerFactory(Settings, ABC):
    """Builds an optimizer over what trains, with its schedule."""

    section = "optimizer"

    lr: PositiveNumber
    schedule: Schedule

    @abstractmethod
    def optimizer(self, components: Sequence[TrainedComponent]) -> torch.optim.Optimizer:
        """The optimizer, every group at its own whole rate."""

    def build(self, components: Sequence[TrainedComponent], num_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimizer and its schedule over `num_steps` optimizer steps, which scales the rates of all groups alike."""
        optimizer = self.optimizer(components)
        return optimizer, LambdaLR(optimizer, lambda step: self.schedule.lr_fraction(step, num_steps))


class AdamWFactory(OptimizerFactory):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101); no decay on biases, norms and embedding tables."""

    weight_decay: NonNegativeNumber = 0.01
    beta1: FractionBelowOne = 0.9
    beta2: FractionBelowOne = 0.99

    def optimizer(self, components: Sequence[TrainedComponent]) -> torch.optim.Optimizer:
        groups = [
            group
            for each in components
            for group in decay_groups(each, *split_by_decay(each.module), self.lr, self.weight_decay)
        ]
        return adamw(groups, self.lr, (self.beta1, self.beta2))


class MuonFactory(AdamWFactory):
    """Muon at `lr` for hidden matrices, AdamW at `adamw_lr` for everything else, with one schedule."""

    adamw_lr: PositiveNumber

    def optimizer(self, components: Sequence[TrainedComponent]) -> torch.optim.Optimizer:
        """Raises UserError where nothing that trains is a matrix inside a stack of blocks."""
        hidden_groups: list[dict[str, Any]] = []
        other_groups: list[dict[str, Any]] = []
        for each in components:
            decayed, undecayed = split_by_decay(each.module)
            hidden = matrices_in_stacks(each, decayed)
            chosen = {id(p) for p in hidden}
            others = [p for p in decayed if id(p) not in chosen]
            for group in decay_groups(each, hidden, [], self.lr, self.weight_decay):
                fused = {id(p) for p in fused_projections(each.module)}
                blocks = [NUM_FUSED if id(p) in fused else 1 for p in group["params"]]
                hidden_groups.append({**group, "blocks": blocks})
            other_groups += decay_groups(each, others, undecayed, self.adamw_lr, self.weight_decay)
        if not hidden_groups:
            raise UserError(
                "Nothing that trains is a hidden matrix, so Muon has nothing to do: choose optimizer=adamw."
            )
        muon = Muon(hidden_groups, lr=self.lr, weight_decay=self.weight_decay)
        if not other_groups:
            return muon
        return JoinedOptimizer([muon, adamw(other_groups, self.adamw_lr, (self.beta1, self.beta2))])


def adamw(groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW whose step reads and writes each tensor once, in one kernel of the device."""
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    # Lightning clips no gradients that an optimizer unscales by itself (precision=16-mixed), so it is to unscale them.
    optimizer._step_supports_amp_scaling = False
    return optimizer


NUM_FUSED = 3
_FUSED_NAMES = ("in_proj", "qkv", "c_attn")  # Mimi's and Pocket TTS's attention, common names, GPT-2's
_NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, with decoupled weight decay; its state and update are those of `torch.optim.Muon`.

    Three things differ. The Newton-Schulz iteration runs in the precision that the device multiplies fast in, where
    torch's always casts to bfloat16: most processors emulate that, and then most of a training step goes there. A fused
    query-key-value matrix is three matrices, as upstream's training code has it. Matrices of one shape go through the
    iteration together, which matters for small models.

    A group may hold `blocks`: for each parameter the number of matrices that are stacked in its rows, 1 by default.

    Sources: Jordan et al. 2024; Liu et al., arXiv 2502.16982 (factor `0.2 sqrt(max(rows, columns))` on the rate).
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        num_iterations: int = 5,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "num_iterations": num_iterations}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            blocks = group.get("blocks") or [1] * len(group["params"])
            updates = [
                (part, update)
                for parameter, count in zip(group["params"], blocks, strict=True)
                if parameter.grad is not None
                for part, update in zip(
                    parameter.chunk(count), self._momentum(parameter, group["momentum"]).chunk(count), strict=True
                )
            ]
            by_shape: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
            for part, update in updates:
                by_shape.setdefault((part.shape, part.dtype, part.device), []).append((part, update))
            for alike in by_shape.values():
                self._apply(alike, group)
        return loss

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """The gradient averaged over steps, with Nesterov's look ahead."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"]
        average.lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum)

    @staticmethod
    def _apply(alike: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        rows, columns = alike[0][0].shape
        orthogonal = orthogonalize(torch.stack([update for _, update in alike]), group["num_iterations"])
        for (part, _), direction in zip(alike, orthogonal, strict=True):
            part.mul_(1 - group["lr"] * group["weight_decay"])
            part.add_(direction.to(part), alpha=-group["lr"] * 0.2 * math.sqrt(max(rows, columns)))


def orthogonalize(matrices: Tensor, num_iterations: int = 5) -> Tensor:
    """Newton-Schulz approximation of each polar factor `U V^T` of matrices `U S V^T` [N, rows, columns].

    Singular values end between about 0.7 and 1.2 instead of at 1, which serves as well (Jordan et al. 2024).
    """
    a, b, c = _NS_COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x.to(fast_matmul_dtype(x.device))
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


def fast_matmul_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that has it, else float32, in which every processor gives the same bits."""
    return torch.bfloat16 if device.type == "cuda" and has_fast_bfloat16(device) else torch.float32


def fused_projections(module: nn.Module) -> list[Tensor]:
    """Weights of query, key and value in one matrix, stacked by rows, by the names that upstream models give them."""
    return [
        each.weight
        for name, each in module.named_modules()
        if name.rpartition(".")[2] in _FUSED_NAMES
        and isinstance(each, nn.Linear)
        and each.weight.shape[0] == NUM_FUSED * each.weight.shape[1]
    ]


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


def decay_groups(
    component: TrainedComponent, decayed: list[Tensor], undecayed: list[Tensor], lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """One component's parameter groups, those that are not empty, at its own rate."""
    both = ((decayed, weight_decay), (undecayed, 0.0))
    named = {"lr": component.rate(lr), "component": component.name}
    return [{"params": params, "weight_decay": decay, **named} for params, decay in both if params]


def split_by_decay(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """(matrices, everything else) among the parameters that require gradients.

    Embedding tables are not decayed, since the rows of tokens that the data never shows would shrink. A single learned
    vector such as `bos_before_voice` [1, 1, D] is no matrix, however many axes it has.
    """
    tables = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in tables and not _is_one_vector(p)]
    kept = {id(p) for p in decayed}
    return decayed, [p for p in trained if id(p) not in kept]


def _is_one_vector(parameter: Tensor) -> bool:
    return parameter.ndim > 2 and parameter.numel() == parameter.shape[-1]


def matrices_in_stacks(component: TrainedComponent, candidates: list[Tensor]) -> list[Tensor]:
    """The two-dimensional candidates that lie in the component's repeated blocks."""
    hidden = {id(p) for block in component.blocks for p in block.parameters()}
    wanted = {id(p) for p in candidates if p.ndim == 2 and id(p) in hidden}
    return [p for p in component.module.parameters() if id(p) in wanted]
