"""A signal saves and stops at an optimizer step, and changes nothing of what the run would have been."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.callbacks.stopping import StopAtSignal, signals_interrupt
from calm_ft.training.resume import find_resume_point, read_checkpoint
from calm_ft.training.settings import CheckpointSettings
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import SAVING, assert_same, fit, trained_state

Clips = list[EncodedUtterance]
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@pytest.fixture(autouse=True)
def a_terminal_that_can_close() -> Iterator[None]:
    """SIGHUP as a terminal's programs have it, also where the tests were started by nohup."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


class SendSignal(Callback):
    """Sends a signal to this process during one batch, or one validation."""

    def __init__(self, at_batch: int, number: int = signal.SIGINT, in_validation: bool = False) -> None:
        self.at_batch = at_batch
        self.number = number
        self.in_validation = in_validation

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.at_batch and not self.in_validation:
            os.kill(os.getpid(), self.number)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.in_validation and trainer.fit_loop.epoch_loop.batch_idx == self.at_batch:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", HANDLED)
@pytest.mark.parametrize(("accumulate", "at_batch", "steps_done"), [(1, 1, 2), (2, 2, 2)])
def test_a_signal_finishes_the_step_and_saves_it(
    nano_adapter: PocketTTSAdapter,
    clips: Clips,
    tmp_path: Path,
    number: int,
    accumulate: int,
    at_batch: int,
    steps_done: int,
) -> None:
    before = [signal.getsignal(each) for each in HANDLED]
    stop = StopAtSignal()
    saving = checkpoint_callbacks(tmp_path, SAVING)
    module, trainer = fit(
        nano_adapter,
        clips,
        tmp_path,
        max_steps=50,
        accumulate_grad_batches=accumulate,
        callbacks=[*saving, stop, SendSignal(at_batch, number)],
    )
    assert stop.requested
    assert trainer.global_step == steps_done
    last = read_checkpoint(tmp_path / "last.ckpt")
    assert last["global_step"] == steps_done
    assert_same(last["state_dict"], trained_state(module))
    assert [signal.getsignal(each) for each in HANDLED] == before


@pytest.mark.slow
@pytest.mark.parametrize("in_validation", [False, True])
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(
    clips: Clips, tmp_path: Path, in_validation: bool
) -> None:
    """Its best checkpoint too: a stop off the schedule validates nothing that the whole run does not."""
    settings = CheckpointSettings(every_n_steps=4, keep=2, monitor="val/residual", mode="min")
    whole, stopped = tmp_path / "whole" / "checkpoints", tmp_path / "stopped" / "checkpoints"

    def adapter() -> PocketTTSAdapter:
        return PocketTTSAdapter(str(NANO), default_objective())

    common: dict[str, Any] = {"max_steps": 7, "val_check_interval": 3}
    module, _ = fit(adapter(), clips, tmp_path, callbacks=checkpoint_callbacks(whole, settings), **common)
    sender = SendSignal(2 if in_validation else 4, signal.SIGTERM, in_validation)
    callbacks = [*checkpoint_callbacks(stopped, settings), StopAtSignal(), sender]
    _, halted = fit(adapter(), clips, tmp_path, callbacks=callbacks, **common)
    assert halted.global_step == (4 if in_validation else 5)
    point = find_resume_point(stopped.parent, lambda line: None)
    assert point is not None
    again, _ = fit(adapter(), clips, tmp_path, callbacks=checkpoint_callbacks(stopped, settings), point=point, **common)
    assert_same(trained_state(module), trained_state(again))
    best, other = read_checkpoint(whole / "best.ckpt"), read_checkpoint(stopped / "best.ckpt")
    assert best["global_step"] == other["global_step"]
    assert_same(best["ema"]["shadow"], other["ema"]["shadow"])


def test_under_nohup_a_closed_terminal_ends_nothing(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts its program
    try:
        stop, sender = StopAtSignal(), SendSignal(1, signal.SIGHUP)
        with signals_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
            _, trainer = fit(nano_adapter, clips, tmp_path, max_steps=3, callbacks=[stop, sender])
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert trainer.global_step == 3
    assert not stop.requested


@pytest.mark.parametrize("number", HANDLED)
def test_outside_of_training_a_signal_is_an_interrupt(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
