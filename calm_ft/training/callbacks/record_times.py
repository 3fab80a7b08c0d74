"""Writes into run.json how far training has come and how long it took, with every checkpoint and at the end."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.training.record import RunRecord


class RecordTimes(Callback):
    """For the first process only. What is noted with a checkpoint remains if the run is killed afterwards."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._started_sec = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._started_sec = time.perf_counter()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._note(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._note(trainer)

    def _note(self, trainer: Trainer) -> None:
        self._record.note_training(trainer.global_step, time.perf_counter() - self._started_sec)
