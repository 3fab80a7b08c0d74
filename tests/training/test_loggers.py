"""When wandb goes online, and that the CSV file stands where it is promised."""

from pathlib import Path

import pytest

from calm_ft.training.loggers import CsvOnly, _wandb_mode


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a login."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


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


def test_metrics_are_written_straight_into_the_runs_folder(tmp_path: Path) -> None:
    (logger,) = CsvOnly().build(tmp_path / "run", {})
    logger.log_metrics({"train/loss": 1.0}, step=0)
    logger.save()
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",") == ["step", "train/loss"]
