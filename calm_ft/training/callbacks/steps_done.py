"""Rows are numbered by the optimizer steps done, where Lightning numbers them by the steps before.

Lightning logs what it measured after the 200th step, validation too, at 199. Here the row is 200, like the samples, the
checkpoint and the progress bar, and 0 is the base model alone.
"""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class StepsDone(Callback):
    """Logs `step`, which Lightning takes as the number of the row instead of its own count."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log("step", float(trainer.global_step))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("step", float(trainer.global_step))
