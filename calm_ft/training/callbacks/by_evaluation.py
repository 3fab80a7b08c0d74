"""The best checkpoint and the end of training by a figure of the evaluation, where Lightning's go by validations.

Lightning's callbacks look at the last logged values after each validation, so that a figure that is measured at other
steps would be judged again and again. These two judge nothing by themselves: the evaluation hands them each value once.
Their states are Lightning's, so that a resumed run goes on with the same best value and the same patience.
"""

import math

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint


class BestByEvaluation(ModelCheckpoint):
    """Saves `best.ckpt` when `judge` is given a better value."""

    def judge(self, trainer: Trainer, value: float | None) -> None:
        """Save the present state if its value is the best so far; all processes are to call it with the same one."""
        if value is not None and not self._should_skip_saving_checkpoint(trainer):
            assert self.monitor is not None
            self._save_topk_checkpoint(trainer, {self.monitor: torch.tensor(value)})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation says nothing of the evaluation."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nor does an epoch's end."""


class StopByEvaluation(EarlyStopping):
    """Ends training after `patience` values that were no better; one that could not be measured is no better."""

    def judge(self, trainer: Trainer, value: float | None) -> None:
        """Count a value; all processes are to call it with the same one."""
        worst = math.inf if self.mode == "min" else -math.inf
        should_stop, _ = self._evaluate_stopping_criteria(torch.tensor(worst if value is None else value))
        trainer.should_stop = trainer.should_stop or should_stop

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation says nothing of the evaluation."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nor does an epoch's end."""
