"""The choices of conf/logger: which trackers a run has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from calm_ft.errors import UserError
from calm_ft.training.loggers.metrics_csv import MetricsCsv
from calm_ft.training.loggers.tensorboard_tracker import TensorBoardTracker
from calm_ft.training.loggers.tracker import Tracker
from calm_ft.training.loggers.wandb_tracker import begin_wandb


@dataclass(frozen=True)
class ResumedLogs:
    """Where a resumed run takes up: its checkpoint's optimizer step, and what `tracker_ids` gave to run.json."""

    step: int
    tracker_ids: dict[str, str] = field(default_factory=dict)


class LoggerSettings(ABC):
    """A choice of trackers besides metrics.csv."""

    def build(
        self, output_dir: Path, config: dict[str, Any], facts: dict[str, Any], resumed: ResumedLogs | None
    ) -> list[Logger]:
        """The loggers of a run that lives in `output_dir`; none in processes other than the first.

        Args:
            config: the resolved configuration.
            facts: what else identifies the run (commit, versions, fingerprints), shown beside the configuration.
            resumed: None for a run that begins.

        Raises UserError where a tracker cannot begin or continue.
        """
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return []
        csv = MetricsCsv(output_dir / "metrics.csv", None if resumed is None else resumed.step)
        return [csv, *self._others(output_dir, {**config, **facts}, resumed)]

    @abstractmethod
    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        """The trackers besides the CSV file."""


class CsvOnly(LoggerSettings):
    """No tracker but the CSV file."""

    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        return []


class WandbSettings(LoggerSettings):
    """wandb beside the CSV file."""

    def __init__(self, project: str, group: str | None = None, log_model: bool = True) -> None:
        """Settings.

        Args:
            project: as in wandb.
            group: the runs of a sweep share one; None for a run by itself.
            log_model: whether the export becomes an artifact, which wandb uploads when online.
        """
        self.project = project
        self.group = group
        self.log_model = log_model

    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        run_id = None if resumed is None else resumed.tracker_ids.get("wandb")
        return [begin_wandb(output_dir, described, self.project, self.group, run_id, self.log_model)]


class TensorBoardSettings(LoggerSettings):
    """TensorBoard beside the CSV file: `tensorboard --logdir RUN/tensorboard`."""

    def __init__(self) -> None:
        """Raises UserError where the package is not installed."""
        if find_spec("tensorboard") is None:
            raise UserError(
                "logger=tensorboard needs the package tensorboard: pip install 'calm_ft[tensorboard]', "
                "or choose logger=csv."
            )

    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        return [TensorBoardTracker(output_dir / "tensorboard", described, None if resumed is None else resumed.step)]
