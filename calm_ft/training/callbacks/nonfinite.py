"""Ends the run at a loss or gradient that is not finite, before the weights change, and keeps the batch for inspection.

Checked once per optimizer step, after the gradients of all processes are reduced: all of them see the same values and
stop together.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.atomic_file import atomic_path
from calm_ft.errors import UserError

NUM_NAMED = 6


class StopAtNonFinite(Callback):
    """Logs the gradient norm, and raises UserError where it or a loss of the step is not finite."""

    def __init__(self, directory: Path) -> None:
        """directory: where a step's batches are kept if it fails."""
        self.directory = directory
        self._batches: list[Any] = []
        self._losses: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._batches, self._losses = [], []
        self._batches.append(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        gradients = {name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None}
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        pl_module.log("train/gradient_norm", norm)
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None  # which skips such steps by itself
        losses = torch.stack(self._losses)
        if (scaled or torch.isfinite(norm)) and torch.isfinite(losses).all():
            return
        step = trainer.global_step + 1
        path = self._keep(step, trainer.global_rank, losses, gradients)
        ids = [each for batch in self._batches for each in batch.utterance_ids]
        prompts = [each for batch in self._batches for each in getattr(batch, "prompt_ids", [])]
        prompted = f", voice prompts {_named(prompts)}" if prompts else ""
        raise UserError(
            f"The loss or its gradient is not finite at step {step} (clips {_named(ids)}{prompted}); the last "
            f"checkpoint is from before that, and the batch is kept in {path}: look at these clips, or begin a new run "
            "with a lower optimizer.lr."
        )

    def _keep(self, step: int, rank: int, losses: torch.Tensor, gradients: dict[str, torch.Tensor]) -> Path:
        path = self.directory / f"nonfinite-step-{step:08d}-rank-{rank}.pt"
        content = {
            "step": step,
            "losses": losses.cpu(),
            "nonfinite_gradients": [name for name, each in gradients.items() if not torch.isfinite(each).all()],
            "batches": [_on_cpu(asdict(batch)) for batch in self._batches],
        }
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
        return path


def _named(ids: list[str]) -> str:
    more = f" and {len(ids) - NUM_NAMED} more" if len(ids) > NUM_NAMED else ""
    return f"{', '.join(ids[:NUM_NAMED])}{more}"


def _on_cpu(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _on_cpu(each) for name, each in value.items()}
    return value.cpu() if isinstance(value, torch.Tensor) else value
