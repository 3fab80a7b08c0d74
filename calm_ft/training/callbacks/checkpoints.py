"""Checkpoints while training: `best.ckpt` by a logged value, `last.ckpt` and the few before it.

`last.ckpt` is saved at optimizer boundaries, after the validation that falls on the same step: a run that resumes from
it has nothing of that step left to do. Each save is a new file `step-00000200.ckpt`; `last.ckpt` is a second name of
the newest one, so that it costs no disk, and where it is damaged the one before is still there.
"""

import os
import re
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
from calm_ft.training.settings import CheckpointSettings

BEST, LAST = "best", "last"
STEP_NAME = re.compile(r"step-(\d{8})\.ckpt")


def checkpoint_callbacks(directory: Path, settings: CheckpointSettings) -> list[Callback]:
    """What writes into `directory`; validation comes at the end of training too, so that its last steps can be best."""
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
    """The last step is validated also where the interval does not divide the run's length."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops


def step_checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """(step, file) of the saved steps, newest first."""
    found = ((STEP_NAME.fullmatch(path.name), path) for path in directory.glob("step-*.ckpt"))
    return sorted(((int(name.group(1)), path) for name, path in found if name), reverse=True)


def name_again(path: Path, name: Path) -> None:
    """Make `name` another name of the file `path`, at once; a copy where the file system has no hard links."""
    with atomic_path(name) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


class AtomicCheckpointIO(TorchCheckpointIO):
    """A checkpoint is there whole or not at all, and on the disk before the one before it goes.

    Lightning's own writer goes through the system's temporary folder, from where a file is copied, not renamed, to
    another disk.
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
                "resume=true; the checkpoints before it are untouched."
            ) from error


def _why(error: Exception) -> str:
    """torch speaks of positions in the file; what the disk said is behind that."""
    met = error if isinstance(error, OSError) else error.__context__
    return met.strerror if isinstance(met, OSError) and met.strerror else " ".join(str(error).split())[:120]
