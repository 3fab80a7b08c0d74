"""Where figures go: `metrics.csv` in every run, wandb besides unless the configuration names none.

wandb never asks: without a login (no WANDB_API_KEY, no entry in netrc) it runs offline and keeps everything in the
run's folder. Keys are read by wandb from its own places and never pass through a configuration.
"""

import netrc
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from calm_ft.errors import UserError


class LoggerSettings(ABC):
    """A choice of trackers."""

    @abstractmethod
    def build(self, output_dir: Path, config: dict[str, Any]) -> list[Logger]:
        """The loggers of a run that lives in `output_dir`."""


class CsvOnly(LoggerSettings):
    """No tracker but the CSV file."""

    def build(self, output_dir: Path, config: dict[str, Any]) -> list[Logger]:
        return [csv_logger(output_dir)]


class WandbSettings(LoggerSettings):
    """wandb beside the CSV file; `project` as in wandb."""

    def __init__(self, project: str) -> None:
        self.project = project

    def build(self, output_dir: Path, config: dict[str, Any]) -> list[Logger]:
        """Raises UserError where a wandb run cannot begin: a key that is refused, no connection."""
        _keep_wandb_below(output_dir)
        import wandb

        try:
            run = wandb.init(
                project=self.project,
                name=output_dir.name,
                dir=str(output_dir),
                config=config,
                mode=_wandb_mode(),
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            raise UserError(
                f"wandb cannot begin a run ({' '.join(str(error).split())[:160]}): mend the login or connection, "
                "or set WANDB_MODE=offline, or choose logger=csv."
            ) from error
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return [csv_logger(output_dir), WandbLogger(experiment=run)]


def csv_logger(output_dir: Path) -> CSVLogger:
    """Writes `metrics.csv` straight into the run's folder."""
    return CSVLogger(str(output_dir.parent), name=output_dir.name, version="")


def log_media(trackers: Sequence[Logger], audio: dict[str, Path], pictures: dict[str, Path]) -> None:
    """Show audio players and pictures where the tracker can (name -> file)."""
    import wandb

    for tracker in trackers:
        if isinstance(tracker, WandbLogger):
            media: dict[str, Any] = {name: wandb.Audio(str(path)) for name, path in audio.items()}
            media |= {name: wandb.Image(str(path)) for name, path in pictures.items()}
            tracker.experiment.log(media)


def finish(trackers: Sequence[Logger]) -> None:
    """Close the trackers, so that the next run of a sweep starts one of its own."""
    for tracker in trackers:
        if isinstance(tracker, WandbLogger):
            tracker.experiment.finish()


def _keep_wandb_below(output_dir: Path) -> None:
    """Its caches and logs too, which would lie in the home folder; quiet, for the run says what is to be said.

    Its one background process serves all jobs of a sweep and keeps the first one's folders.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("CACHE", "CONFIG", "DATA"):
        os.environ.setdefault(f"WANDB_{name}_DIR", str(output_dir / "wandb" / name.lower()))


def _wandb_mode() -> Any:
    """What WANDB_MODE says, else offline unless there is a login."""
    return os.environ.get("WANDB_MODE") or ("online" if _has_wandb_login() else "offline")


def _has_wandb_login() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
