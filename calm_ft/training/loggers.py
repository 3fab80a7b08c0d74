"""Where figures go: `metrics.csv` in every run, wandb besides unless the configuration names none.

wandb never asks: without a login (no WANDB_API_KEY, no entry in netrc) it runs offline and keeps everything in the
run's folder. Keys are read by wandb from its own places and never pass through a configuration.
"""

import netrc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger


class WandbSettings:
    """wandb beside the CSV file; `project` as in wandb."""

    def __init__(self, project: str) -> None:
        self.project = project

    def build(self, output_dir: Path, config: dict[str, Any]) -> list[Logger]:
        """The loggers of a run that lives in `output_dir`."""
        offline = os.environ.get("WANDB_MODE") == "offline" or not _has_wandb_login()
        os.environ.setdefault("WANDB_SILENT", "true")
        wandb_logger = WandbLogger(
            project=self.project, name=output_dir.name, save_dir=str(output_dir), offline=offline, config=config
        )
        return [csv_logger(output_dir), wandb_logger]


class CsvOnly:
    """No tracker but the CSV file."""

    def build(self, output_dir: Path, config: dict[str, Any]) -> list[Logger]:
        """The loggers of a run that lives in `output_dir`."""
        return [csv_logger(output_dir)]


def csv_logger(output_dir: Path) -> CSVLogger:
    """Writes `metrics.csv` straight into the run's folder."""
    return CSVLogger(str(output_dir.parent), name=output_dir.name, version="")


def log_media(loggers: Sequence[Logger], audio: dict[str, Path], pictures: dict[str, Path]) -> None:
    """Show audio players and pictures where the tracker can (name -> file)."""
    import wandb

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            media: dict[str, Any] = {name: wandb.Audio(str(path)) for name, path in audio.items()}
            media |= {name: wandb.Image(str(path)) for name, path in pictures.items()}
            logger.experiment.log(media)


def finish(loggers: Sequence[Logger]) -> None:
    """Close the trackers, so that the next run of a sweep starts one of its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _has_wandb_login() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
