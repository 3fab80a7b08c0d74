"""wandb offline: a run of its own for each job, one run over a resume, everything in the run's folder."""

from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.training.loggers import wandb_log
from tests.training.tiny_run import run_train


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a home without a login."""
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {"WANDB_MODE": "offline", "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", "")  # restored afterwards
        monkeypatch.delenv(f"WANDB_{name}_DIR")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def systems_by_step(rows: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    """Each system's step, once for its two sentences."""
    assert [row["sentence"] for row in rows] == [0, 1] * (len(rows) // 2)
    return [(row["system"], row["step"]) for row in rows[::2]]


def with_wandb(tiny: list[str], recordings_dir: Path, *overrides: str) -> list[str]:
    return [each for each in tiny if not each.startswith("logger")] + [f"data.path={recordings_dir}", *overrides]


@pytest.mark.slow
def test_a_resumed_run_is_one_wandb_run_that_begins_with_the_base(
    recordings_dir: Path, tiny: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["output_dir=run", "evaluation.every_n_steps=1", "evaluation.num_samples=1"]
    scored = [
        "evaluation.every_n_steps=1",
        "evaluation.max_time_share=1.0",
        f"evaluation.heldout_path={recordings_dir}",
    ]
    overrides = with_wandb(tiny, recordings_dir, *own, *scored, "evaluation.num_sentences=2")
    assert run_train(monkeypatch, *overrides) == 0
    assert run_train(monkeypatch, *overrides, "trainer.max_steps=3", "resume=true") == 0
    first, second = wandb_log.stretches(workplace / "run")
    runs = [wandb_log.of_kind(folder, "run")[0] for folder in (first, second)]
    assert runs[0].run_id == runs[1].run_id
    assert [run.resume for run in runs] == [False, True]
    config = wandb_log.config(first)
    assert {"adapter", "seed", "code", "packages", "model", "data_fingerprint", "feature_fingerprint"} <= config.keys()
    rows = [wandb_log.history(folder) for folder in (first, second)]
    assert list(rows[0]) == [0, 1, 2]
    assert 3 in rows[1]
    assert "train/loss" not in rows[0][0]
    assert all(f"{name}.path" in rows[0][0] for name in ("samples/sentence_00", "samples/spectrograms"))
    assert {"val/residual", "train/loss", "train/frames_per_sec", "train/data_wait_share"} <= rows[0][2].keys()
    assert wandb_log.of_kind(second, "artifact")[-1].type == "model"
    summary = wandb_log.summary(second)
    assert {"residuals/base/residual", "residuals/tuned/residual"} <= summary.keys()
    assert {"evaluation/base/cer", "evaluation/tuned/cer", "evaluation/tuned/mcd_db"} <= summary.keys()
    assert [rows[0][step]["eval/cer"] is not None for step in (0, 1, 2)] == [True] * 3
    begun, whole = (wandb_log.table(folder, "evaluation/sentences") for folder in (first, second))
    first_ones = [("reference", None), ("base", 0), ("training", 1), ("training", 2)]
    assert systems_by_step(begun) == [*first_ones, ("tuned", 2)]
    # Offline nothing remembers the first stretch's table, so the second one's holds its rows, too.
    assert systems_by_step(whole)[:-1] == [*first_ones, ("training", 3)]
    for row in whole:
        audio, rate_hz = soundfile.read(row["audio"])
        assert len(audio) > rate_hz / 10
        assert row["spectrogram"].read_bytes().startswith(b"\x89PNG")
        assert row["text"]
        assert row["mcd_db"] >= 0


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_runs_of_one_group_below_their_own_folders(
    recordings_dir: Path, tiny: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = with_wandb(tiny, recordings_dir, "output_dir=sweep", "seed=0,1")
    assert run_train(monkeypatch, "-m", *overrides) == 0
    runs = []
    for job in ("sweep-0", "sweep-1"):
        (tracked,) = wandb_log.stretches(workplace / job)
        runs += wandb_log.of_kind(tracked, "run")
        media = {path.suffix for path in (tracked / "files" / "media").rglob("*") if path.is_file()}
        assert media == {".wav", ".png", ".json"}  # json: the table of the evaluation's sentences
    assert runs[0].run_id != runs[1].run_id
    assert runs[0].run_group == runs[1].run_group != ""
    assert {path.name for path in workplace.iterdir()} == {"home", "sweep", "sweep-0", "sweep-1"}
    assert not list((workplace / "home").iterdir())
