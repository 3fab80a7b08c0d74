"""Rows carry the number of optimizer steps done, the same for training, validation and what callbacks log."""

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.training.loggers import MetricsCsv, StepsDone
from tests.training.tiny_run import fit


class WithMetrics(Callback):
    """Gives training a metrics.csv."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.loggers = [MetricsCsv(self.path)]


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
