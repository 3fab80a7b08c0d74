"""`metrics.csv`, which every run has, and the choice of trackers beside it (conf/logger).

Each row is appended when figures are logged, so that a killed run keeps them. When a column is new, the whole file is
rewritten, atomically. A resumed run drops the rows after its checkpoint, which it will log again, and a last row that a
kill may have cut.
"""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from calm_ft.atomic_file import write_text
from calm_ft.errors import UserError
from calm_ft.training.loggers.tracker import Tracker

STEP = "step"
Row = dict[str, Any]


class MetricsCsv(Tracker):
    """Appends to one CSV file; the first column is the step, the others come in the order of their first figures."""

    key = "csv"

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        """Continue the file after `resumed_step`, or start a new one in place of what a killed run left.

        Raises UserError where the file to be continued is not one of this kind.
        """
        super().__init__()
        self.path = path
        self._columns = [STEP]
        if resumed_step is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._columns, rows = _read(path)
            self._rewrite(row for row in rows if int(row[STEP]) <= resumed_step)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The configuration has a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one row."""
        assert step is not None
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        row = {STEP: step, **values}
        new = [name for name in row if name not in self._columns]
        if new:
            rows = _read(self.path)[1] if self.path.exists() else []
            self._columns += new
            self._rewrite([*rows, row])
        else:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_lines([row], self._columns))

    def _rewrite(self, rows: Iterable[Row]) -> None:
        write_text(self.path, _lines([dict(zip(self._columns, self._columns, strict=True)), *rows], self._columns))


@dataclass(frozen=True)
class ResumedLogs:
    """Where a resumed run continues: the step of its checkpoint, and what `tracker_ids` gave to run.json."""

    step: int
    tracker_ids: dict[str, str] = field(default_factory=dict)


class LoggerSettings(ABC):
    """A choice of trackers beside metrics.csv."""

    def build(
        self, output_dir: Path, config: dict[str, Any], facts: dict[str, Any], resumed: ResumedLogs | None
    ) -> list[Logger]:
        """The loggers of the run in `output_dir`; none in processes other than the first.

        Args:
            config: the resolved configuration.
            facts: what else identifies the run (commit, versions, fingerprints), shown beside the configuration.
            resumed: None for a new run.

        Raises UserError where a tracker cannot begin or continue.
        """
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return []
        csv = MetricsCsv(output_dir / "metrics.csv", None if resumed is None else resumed.step)
        return [csv, *self._others(output_dir, {**config, **facts}, resumed)]

    @abstractmethod
    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        """The trackers beside the CSV file."""


class CsvOnly(LoggerSettings):
    """No tracker but the CSV file."""

    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        return []


def _lines(rows: Iterable[Row], columns: list[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and whole rows."""
    whole = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
    columns, *rows = csv.reader(whole.split("\n"))
    if columns[:1] != [STEP]:
        raise UserError(f"{path} is not the figures of a run (its first column is not {STEP}): restore or remove it.")
    return columns, [
        dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns) and row[0].isdecimal()
    ]
