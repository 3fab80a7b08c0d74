"""Runs that differ in nothing but their seed are one setting: its mean over them, and how far they lie apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from calm_ft.report.page.figures import TUNED, Run
from calm_ft.report.page.metric_table import Column, columns_of, metric_columns, systems_of
from calm_ft.report.page.wording import NOT_AVAILABLE, number
from calm_ft.sweeps.folder import settings_fingerprint


@dataclass(frozen=True)
class SeedRow:
    """One setting: its runs' names, their seeds, and (mean, smallest to largest) for each metric."""

    runs: str
    seeds: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SeedTable:
    columns: tuple[Column, ...]
    rows: tuple[SeedRow, ...]


def seed_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs by setting, in the order of their first ones; a run without a configuration is a group of its own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = settings_fingerprint(run.config, also_ignored=("seed",)) if run.config else run.name
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def seed_table(runs: Sequence[Run]) -> SeedTable | None:
    """The tuned systems' figures of all settings; None where none was run with two seeds."""
    groups = seed_groups(runs)
    if all(len({run.config.get("seed") for run in group}) < 2 for group in groups):
        return None
    columns = metric_columns([system for system in systems_of(runs) if system.name == TUNED])
    rows = tuple(
        SeedRow(
            ", ".join(run.name for run in group),
            ", ".join(str(run.config.get("seed", NOT_AVAILABLE)) for run in group),
            tuple(_mean_and_range(group, name) for name in columns),
        )
        for group in groups
    )
    return SeedTable(columns_of(columns), rows)


def _mean_and_range(group: Sequence[Run], name: str) -> tuple[str, str]:
    systems = [run.evaluation.systems.get(TUNED) for run in group]
    metrics = [system.metrics.get(name) for system in systems if system is not None]
    means = [metric.mean for metric in metrics if metric is not None and metric.mean is not None]
    if not means:
        return NOT_AVAILABLE, ""
    spread = f"{number(min(means))} to {number(max(means))}, {len(means)} seeds" if len(means) > 1 else "1 seed"
    return number(mean(means)), spread
