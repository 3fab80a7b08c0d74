"""What runs made of voices that they were not tuned to: base and tuned of each, by metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

from calm_ft.report.page.figures import REFERENCE, TUNED, Run, ordered_systems
from calm_ft.report.page.metric_table import Cell, Column, SystemOfRuns, columns_of, figure_cell, metric_columns


@dataclass(frozen=True)
class ForgettingRow:
    """One system of one run."""

    system: str
    run: str
    is_tuned: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ForgettingTable:
    columns: tuple[Column, ...]
    rows: tuple[ForgettingRow, ...]


def forgetting_table(runs: Sequence[Run], may_mark: bool) -> ForgettingTable:
    """The table of metrics with a better and a worse; without rows where no run was evaluated in other voices."""
    systems = [
        SystemOfRuns(name, (run,), run.evaluation.base_voices[name])
        for run in runs
        for name in ordered_systems(set(run.evaluation.base_voices) - {REFERENCE})
    ]
    metrics = {name: metric for name, metric in metric_columns(systems).items() if metric.direction != "none"}
    rows = tuple(
        ForgettingRow(
            system=each.name,
            run=each.runs[0].name,
            is_tuned=each.name == TUNED,
            cells=tuple(figure_cell(each, name, may_mark) for name in metrics),
        )
        for each in systems
    )
    return ForgettingTable(columns_of(metrics), rows)
