"""When wandb goes online, and that a resumed run continues the same record, read back from what it wrote offline."""

import subprocess
from pathlib import Path

import pytest
from lightning.pytorch.loggers import Logger

from calm_ft.training.loggers import (
    ResumedLogs,
    WandbSettings,
    finish,
    log_export,
    log_media,
    log_summary,
    tracker_ids,
)
from calm_ft.training.loggers.wandb_tracker import _wandb_mode
from tests.training.loggers import wandb_log
from tests.training.loggers.media import write_media


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a login."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, "")  # what the run sets itself is undone afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def output_dir(tmp_path: Path, nobody: Path) -> Path:
    folder = tmp_path / "my run"
    folder.mkdir()
    return folder


def test_without_a_login_wandb_stays_offline(nobody: Path) -> None:
    assert _wandb_mode() == "offline"


def test_another_services_login_is_none(nobody: Path) -> None:
    (nobody / ".netrc").write_text("machine example.org login user password secret\n")
    assert _wandb_mode() == "offline"


def test_a_login_in_netrc_goes_online(nobody: Path) -> None:
    (nobody / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (nobody / ".netrc").chmod(0o600)
    assert _wandb_mode() == "online"


def test_a_key_goes_online_unless_the_mode_says_otherwise(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert _wandb_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert _wandb_mode() == "offline"


def train(trackers: list[Logger], steps: range) -> None:
    for step in steps:
        for tracker in trackers:
            tracker.log_metrics({"train/loss": 1 / step}, step)
    finish(trackers)


def test_a_resumed_run_continues_the_same_wandb_run_where_its_checkpoint_was(output_dir: Path) -> None:
    settings = WandbSettings("calm_ft", group="sweep")
    trackers = settings.build(output_dir, {}, {}, None)
    ids = tracker_ids(trackers)
    train(trackers, range(1, 7))
    train(settings.build(output_dir, {}, {}, ResumedLogs(4, ids)), range(5, 9))
    first, second = wandb_log.stretches(output_dir)
    before, after = (wandb_log.of_kind(folder, "run")[0] for folder in (first, second))
    assert [before.run_id, after.run_id] == [ids["wandb"]] * 2
    assert (before.resume, after.resume) == (False, True)  # what `wandb sync` continues the run by
    assert [before.run_group, after.run_group] == ["sweep"] * 2
    assert list(wandb_log.history(first)) == [1, 2, 3, 4, 5, 6]
    assert list(wandb_log.history(second)) == [5, 6, 7, 8]
    joined = wandb_log.history(first) | wandb_log.history(second)
    assert [joined[n]["train/loss"] for n in range(1, 9)] == [1 / n for n in range(1, 9)]
    assert [joined[n]["trainer/global_step"] for n in range(1, 9)] == list(range(1, 9))


def test_what_is_logged_at_one_step_is_one_row_and_a_closed_step_stays_as_it_is(output_dir: Path) -> None:
    (csv, tracker) = WandbSettings("calm_ft").build(output_dir, {}, {}, None)
    tracker.log_metrics({"train/loss": 1.0}, 2)
    tracker.log_metrics({"val/residual": 3.0}, 2)
    tracker.log_metrics({"train/loss": 0.5}, 3)
    tracker.log_metrics({"train/loss": 9.0}, 2)
    finish([csv, tracker])
    rows = wandb_log.history(wandb_log.stretches(output_dir)[0])
    assert {step: row["train/loss"] for step, row in rows.items()} == {2: 1.0, 3: 0.5}
    assert rows[2]["val/residual"] == 3.0


def test_wandb_holds_config_facts_media_by_step_summary_and_the_export(output_dir: Path, tmp_path: Path) -> None:
    audio, pictures = write_media(tmp_path)
    weights = output_dir / "export" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"w" * 1_000_000)
    trackers = WandbSettings("calm_ft").build(output_dir, {"seed": 3, "data": {"path": "x"}}, {"code": "abc"}, None)
    for step in (0, 20):
        log_media(trackers, step, audio, pictures)
    log_export(trackers, weights.parent, output_dir.name)
    log_summary(trackers, {"scores": {"tuned": {"mcd_db": 7.5, "voice": None}}})
    finish(trackers)
    (run,) = wandb_log.stretches(output_dir)
    config = wandb_log.config(run)
    assert (config["seed"], config["data"], config["code"]) == (3, {"path": "x"}, "abc")
    shown = wandb_log.history(run)
    assert list(shown) == [0, 20]
    for name in ("samples/sentence_00", "samples/spectrograms"):
        paths = [run / "files" / shown[step][f"{name}.path"] for step in shown]
        assert len(set(paths)) == 2
        assert all(path.stat().st_size > 0 for path in paths)
    assert wandb_log.summary(run)["scores/tuned/mcd_db"] == 7.5
    (artifact,) = wandb_log.of_kind(run, "artifact")
    assert (artifact.type, artifact.name) == ("model", "my_run")
    (entry,) = artifact.manifest.contents
    assert Path(entry.local_path) == weights
    copies = [path for path in (output_dir / "wandb").rglob("*") if path.is_file() and path.stat().st_size >= 1_000_000]
    assert not copies


def test_nothing_is_collected_of_the_working_tree(output_dir: Path) -> None:
    (output_dir / "notes.txt").write_text("nothing\n")
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init"], ["add", "notes.txt"], [*who, "commit", "-m", "first"], ["remote", "add", "origin", "x"]):
        subprocess.run(["git", *command], cwd=output_dir, check=True, capture_output=True)
    finish(WandbSettings("calm_ft").build(output_dir, {}, {}, None))
    described = wandb_log.of_kind(wandb_log.stretches(output_dir)[0], "environment")
    assert described
    assert not any(each.HasField("git") for each in described)


def test_without_log_model_no_export_is_kept(output_dir: Path) -> None:
    (output_dir / "export").mkdir()
    (output_dir / "export" / "config.yaml").write_text("a: 1\n")
    trackers = WandbSettings("calm_ft", log_model=False).build(output_dir, {}, {}, None)
    log_export(trackers, output_dir / "export", "model")
    finish(trackers)
    assert not wandb_log.of_kind(wandb_log.stretches(output_dir)[0], "artifact")
