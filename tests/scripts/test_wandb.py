"""wandb offline: a run of its own for each job, one run over a resume, everything in the run's folder."""

from pathlib import Path

import pytest

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


def with_wandb(tiny: list[str], recordings_dir: Path, *overrides: str) -> list[str]:
    return [each for each in tiny if not each.startswith("logger")] + [f"data.path={recordings_dir}", *overrides]


def test_a_resumed_run_is_one_wandb_run_that_begins_with_the_base(
    recordings_dir: Path, tiny: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = with_wandb(tiny, recordings_dir, "output_dir=run", "samples.every_n_steps=1", "samples.num_sentences=1")
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
    assert any(name.endswith("validation residual/base, tuned voice") for name in wandb_log.summary(second))


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
        assert media == {".wav", ".png"}
    assert runs[0].run_id != runs[1].run_id
    assert runs[0].run_group == runs[1].run_group != ""
    assert {path.name for path in workplace.iterdir()} == {"home", "sweep", "sweep-0", "sweep-1"}
    assert not list((workplace / "home").iterdir())
