"""Loaders over encoded recordings: batch k of training is a function of (seed, k)."""

import signal
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.dataset import TrainingBatches, ValidationBatches
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.prompts import PromptPool


class Recordings(LightningDataModule):
    """Training and validation batches of one encoded voice."""

    def __init__(
        self,
        adapter: TTSAdapter,
        train: list[EncodedUtterance],
        validation: list[EncodedUtterance],
        max_frames_per_batch: int,
        max_batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.adapter = adapter
        self.seed = seed
        self.num_workers = num_workers
        self.train_clips, self.validation_clips = train, validation
        self.pool = PromptPool(train)
        self.plan = BatchPlan([clip.num_frames for clip in train], max_frames_per_batch, max_batch_size, seed)
        lengths = [clip.num_frames for clip in validation]
        self.validation_plan = BatchPlan(lengths, max_frames_per_batch, max_batch_size, seed)

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        num_batches = self.trainer.max_steps * self.trainer.accumulate_grad_batches
        batches = TrainingBatches(self.train_clips, self.pool, self.plan, self.adapter.collate, num_batches, self.seed)
        return DataLoader(
            batches, batch_size=None, num_workers=self.num_workers, worker_init_fn=_leave_interrupts_to_the_run
        )

    def val_dataloader(self) -> DataLoader[Any]:
        batches = ValidationBatches(
            self.validation_clips, self.pool, self.validation_plan, self.adapter.collate, self.seed
        )
        return DataLoader(batches, batch_size=None)


def _leave_interrupts_to_the_run(worker: int) -> None:
    """Ctrl-C reaches every process; a worker that ended by it would end the step that is to be finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
