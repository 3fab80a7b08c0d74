"""wandb offline: a run of its own for each job, everything in the run's folder, and no key in any file."""

from pathlib import Path

import pytest

from tests.training.tiny_run import run_train

PLANTED = {"WANDB_API_KEY": "b" * 20 + "planted" + "c" * 13, "HF_TOKEN": "hf_planted" + "d" * 20}


def test_jobs_track_offline_with_media_below_their_folders_and_without_keys(
    recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {**PLANTED, "WANDB_MODE": "offline", "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", "")  # restored afterwards
        monkeypatch.delenv(f"WANDB_{name}_DIR")
    monkeypatch.chdir(tmp_path)
    overrides = [each for each in tiny if not each.startswith("logger")]
    assert run_train(monkeypatch, "-m", *overrides, f"data.path={recordings_dir}", "output_dir=sweep", "seed=0,1") == 0
    for job in ("sweep-0", "sweep-1"):
        (tracked,) = (tmp_path / job / "wandb").glob("offline-run-*")
        assert list(tracked.glob("run-*.wandb"))
        media = {path.suffix for path in (tracked / "files" / "media").rglob("*") if path.is_file()}
        assert media == {".wav", ".png"}
    assert {path.name for path in tmp_path.iterdir()} == {"home", "multirun", "sweep-0", "sweep-1"}
    assert not list(home.iterdir())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(key.encode() in content for key in PLANTED.values()), path
