"""Resuming by the whole command: what it says, what it ends in, what it refuses."""

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from calm_ft.training.record import RunRecord
from calm_ft.training.resume import read_checkpoint
from tests.scripts.sigkill import same
from tests.scripts.test_run_endings import status, with_callback
from tests.training.tiny_run import run_train

NUM_STEPS = 6


@pytest.fixture
def overrides(recordings_dir: Path, tiny: list[str]) -> list[str]:
    own = [f"data.path={recordings_dir}", f"trainer.max_steps={NUM_STEPS}", "trainer.val_check_interval=2"]
    return [*tiny, *own, "checkpoint.every_n_steps=2", "early_stopping.patience=9"]


def rows(run: Path) -> list[dict[str, str]]:
    """What metrics.csv says of losses and residuals; times and memory differ from run to run."""
    with (run / "metrics.csv").open() as file:
        wanted = ("step", "train/loss", "train/gradient_norm", "train/lr", "val/residual", "tuned/residual")
        return [{name: row.get(name) or "" for name in wanted} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_by_the_line_that_it_prints_and_ends_as_if_it_had_not_been(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_train(monkeypatch, *overrides, f"output_dir={whole}") == 0
    sigterm = with_callback("tests.training.callbacks.test_stopping.SendSignal", at_batch=2, number=int(signal.SIGTERM))
    assert run_train(monkeypatch, *overrides, f"output_dir={stopped}", sigterm) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert status(stopped) == "interrupted"
    continuing = line.partition("python -m calm_ft.train ")[2]
    assert continuing.endswith(f"output_dir={stopped} resume=true")
    assert run_train(monkeypatch, *overrides, f"output_dir={stopped}", "resume=true") == 0
    printed = capsys.readouterr().out
    assert f"resumed at step 3 of {NUM_STEPS}" in printed
    facts = json.loads((stopped / "run.json").read_text())
    assert (facts["resumed_at_steps"], facts["num_steps"]) == ([3], NUM_STEPS)
    assert [(each["first_step"], each["last_step"]) for each in facts["stretches"]] == [(0, 3), (3, NUM_STEPS)]
    assert facts["training_sec"] == pytest.approx(sum(each["training_sec"] for each in facts["stretches"]))
    assert f"trained in {facts['training_sec']:.0f} s" in printed
    listen = re.search(r"listen: (.+), and beside it (.+) and (.+) \(the recording\)", printed)
    assert listen is not None
    assert all((Path(listen[1]).parent / Path(name).name).is_file() for name in listen.groups())
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (read_checkpoint(run / "checkpoints" / name) for run in (whole, stopped))
        assert all(same(first[part], second[part]) for part in first if part != "callbacks")
    exports = [(run / "export" / "model.safetensors").read_bytes() for run in (whole, stopped)]
    assert exports[0] == exports[1]
    assert rows(whole) == rows(stopped)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_run_is_using_is_refused_and_stays_as_it_is(
    overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    resume: bool,
) -> None:
    with RunRecord(tmp_path / "run") as record:
        record.start({}, [])
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*")}
        assert run_train(monkeypatch, *overrides, f"output_dir={tmp_path / 'run'}", f"resume={resume}") == 2
        (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
        assert f"is in use by another run (process {os.getpid()} on " in line
        assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*")} == before


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do_unless_it_is_to_be_longer(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    constant = [*overrides, "optimizer/schedule=constant"]
    short, whole = tmp_path / "short", tmp_path / "whole"
    assert run_train(monkeypatch, *constant, "trainer.max_steps=4", f"output_dir={short}") == 0
    before = (short / "run.json").read_bytes()
    assert run_train(monkeypatch, *constant, "trainer.max_steps=4", f"output_dir={short}", "resume=true") == 0
    assert "nothing left to do" in capsys.readouterr().out
    assert (short / "run.json").read_bytes() == before
    assert run_train(monkeypatch, *constant, f"output_dir={short}", "resume=true") == 0
    assert run_train(monkeypatch, *constant, f"output_dir={whole}") == 0
    first, second = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (short, whole))
    assert second["global_step"] == NUM_STEPS
    assert same(first["state_dict"], second["state_dict"])


@pytest.mark.slow
def test_where_there_is_nothing_to_resume_the_run_begins_and_says_so(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert run_train(monkeypatch, *overrides, "trainer.max_steps=2", f"output_dir={run}", "resume=true") == 0
    assert f"nothing to resume in {run}: starting from the beginning" in capsys.readouterr().out
    assert status(run) == "finished"


@pytest.mark.slow
def test_a_run_that_was_killed_while_it_exported_exports_again(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert run_train(monkeypatch, *overrides, f"output_dir={run}") == 0
    whole = (run / "export" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "export")
    (run / ".export.abc").mkdir()
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**content, "status": "running"}))
    assert run_train(monkeypatch, *overrides, f"output_dir={run}", "resume=true") == 0
    assert (run / "export" / "model.safetensors").read_bytes() == whole
    assert not (run / ".export.abc").exists()
