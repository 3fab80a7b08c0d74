"""Checkpoints while training: `best.ckpt` by a logged value, `last.ckpt` and the few before it.

`last.ckpt` is saved between optimizer steps, after the validation that belongs to the same step, so that a run resumed
from it goes straight on to the next step. Each save is a new file `step-00000200.ckpt`; `last.ckpt` is a second name (a
hard link) of the newest one, so that it takes no disk. If it is damaged, the file before it is still there.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from calm_ft.atomic_file import atomic_path
from calm_ft.errors import UserError
from calm_ft.training.callbacks.metric_monitor import BestByEvaluation, figure_of
from calm_ft.training.resume import BEST, LAST, step_checkpoints
from calm_ft.training.settings import CheckpointSettings


def checkpoint_callbacks(directory: Path, settings: CheckpointSettings) -> list[Callback]:
    """The callbacks that save into `directory`; the last step is always validated, so that it can be the best one."""
    kind = ModelCheckpoint if figure_of(settings.monitor) is None else BestByEvaluation
    best = kind(
        dirpath=str(directory),
        filename=BEST,
        monitor=settings.monitor,
        mode=settings.mode or "min",
        save_top_k=1,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
    return [best, SaveLast(directory, settings.every_n_steps, settings.keep), ValidateAtEnd()]


class SaveLast(Callback):
    """Saves every n optimizer steps and at the end of training; keeps `keep` of them."""

    def __init__(self, directory: Path, every_n_steps: int, keep: int) -> None:
        self.directory = directory
        self.every_n_steps = every_n_steps
        self.keep = keep
        self._saved_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step  # a resumed run has this one, and step 0 needs none

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Here and not at a batch's end: the step's validation, with its best checkpoint, lies in between.
        at_boundary = batch_idx % trainer.accumulate_grad_batches == 0
        if at_boundary and trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step == self._saved_step:
            return
        self._saved_step = trainer.global_step
        path = self.directory / f"step-{trainer.global_step:08d}.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            name_again(path, self.directory / f"{LAST}.ckpt")
            for _, old in step_checkpoints(self.directory)[self.keep :]:
                old.unlink(missing_ok=True)


class ValidateAtEnd(Callback):
    """Validates after the last step, also where the validation interval does not divide the run's length."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops


def name_again(path: Path, name: Path) -> None:
    """Atomically make `name` another name of the file `path`; a copy where the file system has no hard links."""
    with atomic_path(name) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint atomically, and waits until it is on the disk before an older one is removed.

    Lightning's own writer uses the system's temporary folder; to another disk the file is then copied, not renamed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises UserError where the disk is full or not writable."""
        try:
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"The checkpoint {path} cannot be written ({_why(error)}): free some space there and continue with "
                "resume=true; the earlier checkpoints are untouched."
            ) from error


def _why(error: Exception) -> str:
    """The disk's own reason, which torch hides behind a message about positions in the file."""
    met = error if isinstance(error, OSError) else error.__context__
    return met.strerror if isinstance(met, OSError) and met.strerror else " ".join(str(error).split())[:120]
