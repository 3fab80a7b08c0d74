"""The evaluation while training by the whole command: its figures by step, the best by them, exactly resumed."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from calm_ft.training.resume import read_checkpoint
from tests.scripts.sigkill import same
from tests.scripts.test_run_endings import status, with_callback
from tests.training.tiny_run import run_train

MONITORED = "mcd_db"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calm_ft.metrics.hub._hub_answers", lambda: False)


@pytest.fixture
def overrides(recordings_dir: Path, tiny: list[str]) -> list[str]:
    replaced = ("evaluation.", "trainer.max_steps")
    return [
        *(each for each in tiny if not each.startswith(replaced)),
        f"data.path={recordings_dir}",
        f"evaluation.heldout_path={recordings_dir}",
        "evaluation.num_sentences=3",
        "evaluation.num_scored_sentences=2",
        "evaluation.every_n_steps=2",
        f"checkpoint.monitor=eval/{MONITORED}",
        "checkpoint.every_n_steps=2",
        "early_stopping.patience=9",
        "trainer.max_steps=5",
        "trainer.val_check_interval=1",
        "optimizer.lr=3e-3",
    ]


def evaluations(run: Path) -> dict[int, dict[str, str]]:
    """What metrics.csv says of each evaluation but the time, which differs from run to run."""
    rows: dict[int, dict[str, str]] = {}
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            figures = {name: value for name, value in row.items() if name.startswith("eval/") and value}
            figures.pop("eval/time_share", None)
            if figures:
                assert int(row["step"]) not in rows
                rows[int(row["step"])] = figures
    return rows


def facts(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


@pytest.mark.slow
def test_base_steps_and_export_are_scored_alike_and_the_best_by_a_figure_is_exported(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    assert run_train(monkeypatch, *overrides, f"output_dir={whole}") == 0
    assert capsys.readouterr().err.count("no speaker_similarity_wavlm: ") == 1
    by_step = evaluations(whole)
    assert list(by_step) == [0, 2, 4, 5]
    values = {step: float(row[f"eval/{MONITORED}"]) for step, row in by_step.items()}
    best = min((2, 4, 5), key=values.__getitem__)
    assert read_checkpoint(whole / "checkpoints" / "best.ckpt")["global_step"] == best
    figures = facts(whole)["evaluation"]["systems"]
    base, tuned = (figures[name]["metrics"] for name in ("base", "tuned"))
    assert facts(whole)["checkpoint_step"] == best
    scored = [json.loads(line) for line in (whole / "samples" / "sentences.jsonl").read_text().splitlines()]
    exported = [row["figures"][MONITORED] for row in scored if row["system"] == "tuned"]
    assert base[MONITORED]["n"] == tuned[MONITORED]["n"] == 3
    # The export speaks the same sentences with the same noise as the averaged weights did at its step.
    assert sum(exported) / 2 == pytest.approx(values[best], rel=1e-3)
    assert {name.removeprefix("eval/") for name in by_step[best]} - tuned.keys() == {"runaway", "silent", "truncated"}


@pytest.mark.slow
def test_a_run_that_is_stopped_and_resumed_has_the_same_best_and_the_same_figures_to_the_bit(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_train(monkeypatch, *overrides, f"output_dir={whole}") == 0
    sigterm = with_callback("tests.training.callbacks.test_stopping.SendSignal", at_batch=2, number=int(signal.SIGTERM))
    assert run_train(monkeypatch, *overrides, f"output_dir={stopped}", sigterm) == 0
    assert status(stopped) == "interrupted"
    assert list(evaluations(stopped)) == [0, 2]
    assert run_train(monkeypatch, *overrides, f"output_dir={stopped}", "resume=true") == 0
    assert evaluations(stopped) == evaluations(whole)
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (read_checkpoint(run / "checkpoints" / name) for run in (whole, stopped))
        assert all(same(first[part], second[part]) for part in first if part != "callbacks")
    evaluated = [facts(run)["evaluation"] for run in (stopped, whole)]
    assert [each["systems"] for each in evaluated[:1]] == [each["systems"] for each in evaluated[1:]]
    sentences = [(run / "samples" / "sentences.jsonl").read_text() for run in (whole, stopped)]
    assert sentences[0] == sentences[1]
    assert sentences[0].count("\n") == 2 * 6  # reference, base, three steps, the export

    changed = [*overrides, f"output_dir={stopped}", "resume=true", "trainer.max_steps=7", "evaluation.asr=none"]
    assert run_train(monkeypatch, *changed) == 2
    assert "its evaluation differs" in capsys.readouterr().err
