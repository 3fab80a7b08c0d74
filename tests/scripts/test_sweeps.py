"""train.py -m: what a second start does, what is refused, and jobs that run in other processes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calm_ft.config import CONF
from tests.scripts.test_run_endings import status
from tests.training.tiny_run import run_train

ROOT = CONF.parent
patient = pytest.mark.timeout(900)  # several processes that each begin anew, on a machine that may be busy


@pytest.fixture
def sweep(recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The overrides of a sweep in runs/s of the present folder."""
    monkeypatch.chdir(tmp_path)
    return ["-m", *tiny, "evaluation.base_voices=null", f"data.path={recordings_dir}", "output_dir=runs/s"]


def _times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_same_command_trains_nothing_again_and_a_longer_one_only_what_is_new(
    sweep: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(monkeypatch, *sweep, "optimizer.lr=1e-3") == 0
    before = _times(tmp_path / "runs" / "s-0")
    capsys.readouterr()
    assert run_train(monkeypatch, *sweep, "optimizer.lr=2e-3,1e-3") == 0
    assert _times(tmp_path / "runs" / "s-0") == before
    assert status(tmp_path / "runs" / "s-1") == "finished"
    printed = capsys.readouterr().out.splitlines()
    assert "runs/s-0 (optimizer.lr=0.001): skipped" in printed
    assert any(line.startswith("runs/s-1 (optimizer.lr=0.002): run") for line in printed)
    assert [json.loads((tmp_path / f"runs/s-{n}" / "run.json").read_text())["overrides"][-1] for n in (0, 1)]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("output_dir=a,b", "cannot be the folder of a sweep"),
        ("output_dir=file", "cannot be written"),
        ("output_dir=other", "is no sweep's folder"),
        ("sweep_value=mdc", "is no figure of a run"),
        ("optimizer.lrr=1,2", "there is no setting optimizer.lrr"),
        ("strategy=nothing,full", "nothing"),
    ],
)
def test_what_no_job_could_do_is_said_before_anything_is_written(
    override: str,
    said: str,
    sweep: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    assert run_train(monkeypatch, *sweep, override) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "runs"] == before


def _command(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "train.py"), *overrides]


def _environment() -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths}


@pytest.mark.slow
@patient
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_in_other_processes_tell_their_faults_and_the_next_start_skips_the_others(
    launcher: str, sweep: list[str], tmp_path: Path
) -> None:
    arguments = [*sweep, f"hydra/launcher={launcher}", "optimizer.lr=1e-3,-1,2e-3"]
    two_at_a_time = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    first = subprocess.run(_command(*arguments, *two_at_a_time), env=_environment(), capture_output=True, text=True)
    assert first.returncode == 2, first.stderr
    last = first.stderr.splitlines()[-1]
    assert last.startswith("error: 1 of 3 jobs failed: runs/s-1 (optimizer.lr=-1)")
    before = {number: _times(tmp_path / f"runs/s-{number}") for number in (0, 2)}
    assert [status(tmp_path / f"runs/s-{number}") for number in before] == ["finished"] * 2
    second = subprocess.run(_command(*arguments, *two_at_a_time), env=_environment(), capture_output=True, text=True)
    assert second.returncode == 2
    assert {number: _times(tmp_path / f"runs/s-{number}") for number in before} == before
    assert second.stdout.count("(skipped)") == 2


@pytest.mark.slow
@patient
def test_ctrl_c_lets_parallel_jobs_save_and_the_printed_line_continues_them(sweep: list[str], tmp_path: Path) -> None:
    arguments = [*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_steps=40", "seed=0,1,2"]
    process = subprocess.Popen(_command(*arguments), env=_environment(), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not all(_trains(tmp_path / f"runs/s/jobs/{number}.log") for number in (0, 1)):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert [status(tmp_path / f"runs/s-{number}") for number in (0, 1)] == ["interrupted"] * 2
    assert not (tmp_path / "runs/s-2").exists()
    line = printed.splitlines()[-1]
    begin, typed = f"this continues: python {ROOT / 'scripts' / 'train.py'} -m ", " output_dir=runs/s"
    assert begin in line
    assert line.endswith(typed)
    continued = subprocess.run(
        [sys.executable, *shlex.split(line.partition("this continues: python ")[2])],
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert continued.returncode == 0, continued.stderr
    records = [json.loads((tmp_path / f"runs/s-{number}/run.json").read_text()) for number in (0, 1, 2)]
    assert [record["status"] for record in records] == ["finished"] * 3
    assert all(0 < record["resumed_at_steps"][0] < 40 for record in records[:2])


@pytest.mark.slow
@patient
def test_a_job_that_the_queue_ends_and_begins_again_continues(sweep: list[str], tmp_path: Path) -> None:
    arguments = [
        *sweep,
        "hydra/launcher=submitit_local",
        "trainer.max_steps=60",
        "checkpoint.every_n_steps=5",
        "seed=0",
    ]
    process = subprocess.Popen(_command(*arguments), env=_environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "runs/s-0/checkpoints").glob("step-*.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(json.loads((tmp_path / "runs/s/jobs/0.json").read_text())["pid"], signal.SIGUSR2)
    _, faults = process.communicate(timeout=200)
    assert process.returncode == 0, faults
    record = json.loads((tmp_path / "runs/s-0/run.json").read_text())
    assert record["status"] == "finished"
    assert 5 <= record["resumed_at_steps"][0] < 60


def _trains(log: Path) -> bool:
    metrics = log.parent.parent.with_name(f"s-{log.stem}") / "metrics.csv"
    return metrics.is_file() and len(metrics.read_text().splitlines()) > 3


@pytest.mark.slow
@patient
def test_a_study_goes_on_where_it_was_left_and_a_failed_trial_ends_nothing(
    sweep: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import optuna

    study = [*sweep, "hydra/sweeper=optuna", "sweep_value=mcd_db", "optimizer.lr=choice(1e-3,-1)"]
    sampler = ["hydra/sweeper/sampler=grid"]
    assert run_train(monkeypatch, *study, *sampler, "hydra.sweeper.n_trials=2") == 2
    assert "1 of 2 jobs failed" in capsys.readouterr().err.splitlines()[-1]
    (name,) = optuna.get_all_study_names(f"sqlite:///{tmp_path}/runs/s/study.db")
    trials = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/runs/s/study.db").trials
    by_rate = {str(trial.params["optimizer.lr"]): trial for trial in trials}
    assert by_rate["-1"].state == optuna.trial.TrialState.FAIL
    (good,) = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    (finished,) = (path.parent for path in tmp_path.glob("runs/s-*/run.json"))
    tuned = json.loads((finished / "run.json").read_text())["evaluation"]["systems"]["tuned"]
    assert good.value == tuned["metrics"]["mcd_db"]["mean"]
    before = _times(finished)
    assert run_train(monkeypatch, *study, *sampler, "hydra.sweeper.n_trials=2") == 2
    printed = capsys.readouterr()
    assert "the study has 1 of 2 trials already" in printed.out
    assert "optimizer.lr=-1" in printed.err.splitlines()[-1]
    assert _times(finished) == before
