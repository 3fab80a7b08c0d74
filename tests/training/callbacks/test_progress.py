"""Progress comes in whole lines, or as one bar."""

from pathlib import Path
from typing import Any

import pytest

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.training.callbacks.progress import LineProgress, TerminalProgress, metrics_text
from calm_ft.training.callbacks.throughput import Throughput
from tests.training.tiny_run import fit

Clips = list[EncodedUtterance]


def test_lines_of_progress_are_whole_and_hold_the_figures(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("calm_ft.training.callbacks.progress.LINE_INTERVAL_SEC", 0.0)
    fit(nano_adapter, clips, tmp_path, max_steps=3, enable_progress_bar=True, callbacks=[Throughput(), LineProgress()])
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" [")[0] for line in lines] == [f"training: {n}/3" for n in (1, 2, 3, 3)]
    assert all(part in lines[-1] for part in ("loss", "val/residual", "x real time", "<0:00"))


def test_the_terminal_has_one_bar_that_ends_full(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(
        nano_adapter,
        clips,
        tmp_path,
        max_steps=3,
        enable_progress_bar=True,
        callbacks=[Throughput(), TerminalProgress()],
    )
    printed = capsys.readouterr().err
    assert "Validation" not in printed
    assert "Training" not in printed
    assert "training 100%" in printed.split("\r")[-1]


def test_metrics_are_said_in_short() -> None:
    metrics = {"train/loss": 0.9876, "val/residual": 0.5, "train/x_real_time": 74.2, "other": 1.0}
    assert metrics_text(metrics) == "loss 0.988, val/residual 0.500, 74 x real time"
    assert metrics_text({}) == ""
