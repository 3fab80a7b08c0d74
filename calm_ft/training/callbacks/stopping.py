"""Ctrl-C, SIGTERM and SIGUSR1: training finishes its step, saves and ends; a second Ctrl-C is Python's own.

Lightning's own answers leave the process at once, without a checkpoint, or (SIGUSR1 under SLURM) requeue a job that
would begin anew; its handlers are in force only until training starts.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.sweeps.stopping import left_to_the_sweep

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Outside of training, the other signals end the run as Ctrl-C does: by KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {each: signal.signal(each, _raise_interrupt) for each in _heeded_signals()}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _heeded_signals() -> list[signal.Signals]:
    """All of them, but in a sweep's job those that the sweep's own process passes on."""
    return [each for each in SIGNALS if signal.getsignal(each) is not left_to_the_sweep]


def _raise_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


class StopAtSignal(Callback):
    """The first signal finishes the optimizer step and ends training as after the last one."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = {each: signal.signal(each, self._request) for each in _heeded_signals()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if trainer.world_size > 1:  # all processes stop at the same step, whichever got the signal
            self.requested = trainer.strategy.reduce_boolean_decision(self.requested, all=False)
        if self.requested:
            trainer.should_stop = True
            if not _validation_falls_here(trainer):
                # Lightning would validate once more before it stops, which the uninterrupted run does not do here.
                trainer.limit_val_batches = 0

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _request(self, *_: Any) -> None:
        self.requested = True
        self._restore()
        print("\nstopping after this step and saving (Ctrl-C again: at once)", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
        self._previous = {}


def _validation_falls_here(trainer: Trainer) -> bool:
    interval = trainer.val_check_batch  # None where validations fall by the clock
    return interval is not None and (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % interval == 0
