"""Ctrl-C, SIGTERM, SIGUSR1 and a closed terminal (SIGHUP): training finishes its step, saves and ends.

A second Ctrl-C ends the process at once. Lightning's own handlers would leave without a checkpoint, or (SIGUSR1 under
SLURM) requeue a job that starts from the beginning; they are in force only until training starts.
"""

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.sweeps.stopping import left_to_the_sweep

HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
SIGNALS = tuple(each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, HANGUP) if each is not None)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Outside of training, the other signals end the run as Ctrl-C does: by KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {each: signal.signal(each, _raise_interrupt) for each in _handled_signals()}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _handled_signals() -> list[signal.Signals]:
    """All but SIGHUP where it is ignored, as nohup has it, and what a sweep's own process passes on to its jobs."""
    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    return [
        each
        for each, handler in handlers.items()
        if handler is not left_to_the_sweep and not (each == HANGUP and handler == signal.SIG_IGN)
    ]


def _raise_interrupt(number: int, frame: Any) -> None:
    if number == HANGUP:
        leave_the_terminal()
    raise KeyboardInterrupt


def leave_the_terminal() -> None:
    """Send further output to /dev/null if it went to a terminal: on a closed one each write raises an OSError.

    A terminal is recognised as a character device, since `isatty` is false once it is closed.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a stream may have no file at all
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class StopAtSignal(Callback):
    """The first signal finishes the optimizer step and ends training as after the last one."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = {each: signal.signal(each, self._request) for each in _handled_signals()}

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

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True
        self._restore()
        with suppress(OSError):
            print("\nstopping after this step and saving (Ctrl-C again: at once)", file=sys.stderr, flush=True)
        if number == HANGUP:
            leave_the_terminal()

    def _restore(self) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
        self._previous = {}


def _validation_falls_here(trainer: Trainer) -> bool:
    interval = trainer.val_check_batch  # None where validations fall by the clock
    return interval is not None and (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % interval == 0
