"""`metrics.csv`: a row for each time that figures were logged, in a file that is whole at any moment.

A row is appended as it comes, so that a killed run keeps what it logged. A column that appears later means a new
header: the file is then written anew, atomically. A resumed run drops the rows after its checkpoint, for it logs them
again, and a last row that a kill may have torn.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
        """Continue the file after `resumed_step`, or begin one in the place of what a killed run left.

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
