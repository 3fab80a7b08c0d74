"""What happens beside the training steps: checkpoints, speed as a multiple of real time, a stop at Ctrl-C."""

import signal
import sys
import threading
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from calm_ft.adapters.base import TTSAdapter

BEST, LAST = "best", "last"


def checkpoint_callbacks(directory: str, every_n_steps: int) -> list[Callback]:
    """`best.ckpt` by validation residual and `last.ckpt` every n steps and at the end, each written atomically."""
    common: dict[str, Any] = {"dirpath": directory, "save_top_k": 1, "enable_version_counter": False}
    best = ModelCheckpoint(filename=BEST, monitor="val/residual", mode="min", auto_insert_metric_name=False, **common)
    last = ModelCheckpoint(filename=LAST, every_n_train_steps=every_n_steps, **common)
    return [best, last, SaveAtEnd(f"{directory}/{LAST}.ckpt")]


class SaveAtEnd(Callback):
    """Makes `last.ckpt` the last step's, also where the interval does not divide the run's length."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)


class Throughput(Callback):
    """Logs frames a second and how many times faster than real time data are consumed.

    Both are means over the training so far without its validations: on a GPU single steps return before they are done.
    """

    frame_rate_hz: float

    def __init__(self) -> None:
        self._started_sec = self._validation_started_sec = self._validation_sec = 0.0
        self._num_frames = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module.adapter, TTSAdapter)
        self.frame_rate_hz = pl_module.adapter.frame_rate_hz
        self._validation_sec, self._num_frames = 0.0, 0
        self._started_sec = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_started_sec = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_sec += time.perf_counter() - self._validation_started_sec

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._num_frames += int(batch.num_frames.sum())
        training_sec = time.perf_counter() - self._started_sec - self._validation_sec
        frames_per_sec = self._num_frames / training_sec
        pl_module.log("train/frames_per_sec", frames_per_sec)
        pl_module.log("train/x_real_time", frames_per_sec / self.frame_rate_hz, prog_bar=True)


class StopAtInterrupt(Callback):
    """The first Ctrl-C finishes the optimizer step and ends training as after the last one; a second one is Python's.

    Lightning's own answer to Ctrl-C leaves the process at once, without a checkpoint.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._request)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        at_optimizer_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.requested and at_optimizer_step:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _request(self, *_: Any) -> None:
        self.requested = True
        self._restore()
        print("\nstopping after this step and saving (Ctrl-C again: at once)", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
