"""scripts/evaluate.py in this process, on few sentences, and what it left."""

import json
from pathlib import Path
from typing import Any

import pytest

from calm_ft.metrics.base import ModelMissing
from scripts import evaluate
from tests.scripts.run_script import run

NO_BASE_VOICES = ["--base-sentences", 0]


def evaluate_run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code; the hub is out of reach, and DNSMOS, which takes longer than all else together, is not there."""
    monkeypatch.setattr("calm_ft.metrics.hub._hub_answers", lambda: False)
    monkeypatch.setattr("calm_ft.metrics.naturalness._dnsmos", _no_dnsmos)
    return run(monkeypatch, evaluate, *arguments)


def _no_dnsmos() -> None:
    raise ModelMissing("left out of this test.")


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()]
