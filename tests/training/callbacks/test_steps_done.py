"""Rows carry the number of optimizer steps done, in training and validation, and over a resume."""

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.loggers import MetricsCsv, StepsDone
from calm_ft.training.resume import find_resume_point
from calm_ft.training.settings import CheckpointSettings
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import fit


class WithMetrics(Callback):
    """Gives training a metrics.csv."""

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        self.path = path
        self.resumed_step = resumed_step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.loggers = [MetricsCsv(self.path, self.resumed_step)]


class Kill(Callback):
    """Ends training as a kill does, in the middle of a step."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 5:
            raise KilledError


class KilledError(Exception):
    pass


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_and_validation_after_n_steps_are_rows_n(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path, accumulate: int
) -> None:
    path = tmp_path / "metrics.csv"
    settings: dict[str, Any] = {"accumulate_grad_batches": accumulate, "val_check_interval": 2 * accumulate}
    fit(
        nano_adapter,
        clips,
        tmp_path,
        callbacks=[WithMetrics(path), StepsDone()],
        max_steps=4,
        log_every_n_steps=2,
        **settings,
    )
    logged = rows(path)
    assert [row["step"] for row in logged if row["train/loss"]] == ["2", "4"]
    assert [row["step"] for row in logged if row["val/residual"]] == ["2", "4"]
    assert "epoch" not in logged[0]


@pytest.mark.slow
def test_a_killed_and_resumed_training_logs_the_rows_of_an_uninterrupted_one(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path
) -> None:
    common: dict[str, Any] = {"max_steps": 8, "val_check_interval": 2, "log_every_n_steps": 1}
    whole, resumed, folder = tmp_path / "whole.csv", tmp_path / "resumed.csv", tmp_path / "run"
    fit(nano_adapter, clips, tmp_path, callbacks=[WithMetrics(whole), StepsDone()], **common)
    settings = CheckpointSettings(every_n_steps=3, keep=2, monitor="val/residual", mode="min")
    saving = checkpoint_callbacks(folder / "checkpoints", settings)
    with pytest.raises(KilledError):
        fit(fresh(), clips, folder, callbacks=[*saving, WithMetrics(resumed), StepsDone(), Kill()], **common)
    assert len(rows(resumed)) == 7
    point = find_resume_point(folder, print)
    assert point is not None
    assert point.step == 3
    beside = [*saving, WithMetrics(resumed, point.step), StepsDone()]
    fit(fresh(), clips, folder, callbacks=beside, point=point, **common)
    assert len(rows(whole)) == 12
    assert resumed.read_text() == whole.read_text()


def fresh() -> PocketTTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective())
