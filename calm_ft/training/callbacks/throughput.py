"""How fast training consumes data, how long it waits for data, and how much memory it takes.

All figures are means over the present stretch of training: since the start, or since the step it was resumed from. The
clock is stopped during validation, sampling and saving. On a GPU a step returns before it is done, so single steps are
not timed; the clock waits for the device only when it is stopped.
"""

import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

MEBIBYTE = 2**20


class TimedDataLoader(DataLoader[Any]):
    """A DataLoader that adds up the time spent waiting for its batches."""

    wait_sec = 0.0
    asked_sec = 0.0
    """When the latest batch was asked for, on the clock of time.perf_counter."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            self.asked_sec = time.perf_counter()
            batch = next(batches, None)
            self.wait_sec += time.perf_counter() - self.asked_sec
            if batch is None:
                return
            yield batch


class Throughput(Callback):
    """Logs frames a second, how many times faster than real time that is, padding, waiting, and peak memory."""

    def __init__(self) -> None:
        self._loader: TimedDataLoader | None = None
        self._running_since_sec: float | None = None
        self._stopped_sec = self._training_sec = self._wait_sec_before = 0.0
        self._num_batches = self._first_step = self._last_step = 0
        self._num_frames: int | Tensor = 0
        self._padding_sum: float | Tensor = 0.0

    def pause(self) -> None:
        """Stop the clock until the next batch is asked for, or begins where it is there already."""
        self._run_if_asked()
        if self._running_since_sec is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self._stopped_sec = time.perf_counter()
            self._training_sec += self._stopped_sec - self._running_since_sec
            self._running_since_sec = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loader = trainer.train_dataloader
        self._loader = loader if isinstance(loader, TimedDataLoader) else None
        self._wait_sec_before = 0.0 if self._loader is None else self._loader.wait_sec
        self._running_since_sec, self._training_sec = None, 0.0
        self._stopped_sec = time.perf_counter()
        self._num_batches = self._num_frames = 0
        self._padding_sum = 0.0
        self._first_step = self._last_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._run_if_asked()
        if self._running_since_sec is None:
            self._running_since_sec = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._num_batches += 1
        self._num_frames = self._num_frames + batch.num_frames.sum()  # stays on the device
        self._padding_sum = self._padding_sum + batch.padding_share
        if trainer.global_step > self._last_step:
            self._last_step = trainer.global_step
            self._log(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pause()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.pause()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pause()

    def _run_if_asked(self) -> None:
        """Start the clock when the batch was asked for: waiting for it counts as training."""
        if self._running_since_sec is None and self._loader is not None and self._loader.asked_sec > self._stopped_sec:
            self._running_since_sec = self._loader.asked_sec

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        training_sec = self._training_sec
        if self._running_since_sec is not None:
            training_sec += time.perf_counter() - self._running_since_sec
        frames_per_sec = self._num_frames * trainer.world_size / training_sec
        adapter: Any = pl_module.adapter
        pl_module.log("train/x_real_time", frames_per_sec / adapter.frame_rate_hz, prog_bar=True)
        figures = {
            "train/frames_per_sec": frames_per_sec,
            "train/padding_share": self._padding_sum / self._num_batches,
            "train/step_sec": training_sec / (self._last_step - self._first_step),
            **_peak_memory(pl_module.device),
        }
        if self._loader is not None:
            figures["train/data_wait_share"] = (self._loader.wait_sec - self._wait_sec_before) / training_sec
        pl_module.log_dict(figures)


def pause_throughput(trainer: Trainer) -> None:
    """Keep the time until the next batch is asked for out of the training's speed."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Throughput):
            callback.pause()


def _peak_memory(device: torch.device) -> dict[str, float]:
    """In MiB: resident memory of the process at its highest, and what Torch held at most on a GPU."""
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    figures = {"memory/peak_rss_mb": peak_rss / MEBIBYTE}
    if device.type == "cuda":
        figures["memory/peak_gpu_mb"] = torch.cuda.max_memory_allocated(device) / MEBIBYTE
    return figures
