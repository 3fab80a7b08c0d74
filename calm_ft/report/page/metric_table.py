"""Systems by metrics. A difference, to the base or to another run, is marked only where the paired interval leaves
zero out."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calm_ft.report.page.figures import (
    BASE,
    REFERENCE,
    SYSTEMS,
    TUNED,
    Difference,
    Direction,
    Metric,
    Run,
    System,
    ordered_systems,
)
from calm_ft.report.page.wording import NOT_AVAILABLE, interval, number

_NUM_CLIPS = "utterances"
COUNTS = ("runaway", "silent", "truncated")
_ARROWS = {"lower": "↓ lower is better", "higher": "↑ higher is better", "none": ""}
_MARKS = {"better": "▲ better than", "worse": "▼ worse than"}


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    arrow: str


@dataclass(frozen=True)
class Cell:
    """One figure as texts; `mark` is better, worse or nothing, `why_missing` the reason where there is no figure."""

    mean: str = NOT_AVAILABLE
    interval: str = ""
    median: str = ""
    num: str = ""
    difference: str = ""
    mark: str = ""
    mark_text: str = ""
    why_missing: str = ""


@dataclass(frozen=True)
class Row:
    """One system; `runs` names whose it is, and is empty where all runs share it."""

    system: str
    runs: str
    is_tuned: bool
    cells: tuple[Cell, ...]
    counts: tuple[str, ...]
    rtf: str
    first_audio: str


@dataclass(frozen=True)
class MetricTable:
    columns: tuple[Column, ...]
    count_names: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class SystemOfRuns:
    """One system's figures and the runs that have exactly these: all runs from one base share the base's."""

    name: str
    runs: tuple[Run, ...]
    figures: System


def systems_of(runs: Sequence[Run]) -> list[SystemOfRuns]:
    """All systems in the order of the table, those that are one and the same in several runs put together."""
    found: list[SystemOfRuns] = []
    for name in ordered_systems({name for run in runs for name in run.evaluation.systems}):
        groups: list[SystemOfRuns] = []
        for run in runs:
            figures = run.evaluation.systems.get(name)
            if figures is None:
                continue
            own = SystemOfRuns(name, (run,), figures)
            same = [number for number, group in enumerate(groups) if _are_one(group, own)]
            if same:
                group = groups[same[0]]
                groups[same[0]] = dataclasses.replace(group, runs=(*group.runs, run))
            else:
                groups.append(own)
        found += groups
    return found


def whose(system: str, runs: Sequence[str], num_runs: int) -> str:
    """The names of the runs whose system it is; nothing where all share it."""
    return "" if system != TUNED and len(runs) == num_runs else ", ".join(runs)


def metric_table(runs: Sequence[Run], may_mark: bool, other: str = BASE) -> MetricTable:
    """The table; nothing is marked where the runs cannot be compared. `other`: to what the differences are."""
    systems = systems_of(runs)
    columns = metric_columns(systems)
    for name in missing_metrics(runs):
        if name in SYSTEMS:  # it is missing as a whole
            continue
        columns.setdefault(name, Metric(None))
    counted = {name for system in systems for name in system.figures.counts} - {_NUM_CLIPS}
    count_names = (*COUNTS, *sorted(counted - set(COUNTS)))
    rows = tuple(
        Row(
            system=system.name,
            runs=whose(system.name, [run.name for run in system.runs], len(runs)),
            is_tuned=system.name == TUNED,
            cells=tuple(figure_cell(system, name, may_mark, other) for name in columns),
            counts=tuple(_count(system.figures, name) for name in count_names),
            rtf=_range([run.evaluation.systems[system.name].rtf for run in system.runs]),
            first_audio=_range([run.evaluation.systems[system.name].first_audio_sec for run in system.runs]),
        )
        for system in systems
    )
    return MetricTable(columns_of(columns), count_names, rows)


def metric_columns(systems: Sequence[SystemOfRuns]) -> dict[str, Metric]:
    """Each metric with one system's figure, for its unit and direction; those of evaluations come first."""
    columns: dict[str, Metric] = {}
    for system in sorted(systems, key=lambda system: not system.runs[0].evaluation.was_evaluated):
        for name, metric in system.figures.metrics.items():
            columns.setdefault(name, metric)
    return columns


def verdict(difference: Difference, direction: Direction) -> str:
    """better, worse, or nothing where the interval holds zero, is missing, or disagrees with what was judged."""
    low, high = difference.low, difference.high
    if low is None or high is None or low <= 0 <= high or direction == "none":
        return ""
    is_better = high < 0 if direction == "lower" else low > 0
    if difference.better is not is_better:
        return ""
    return "better" if is_better else "worse"


def columns_of(metrics: Mapping[str, Metric]) -> tuple[Column, ...]:
    """A column a metric."""
    return tuple(Column(name, metric.unit, _ARROWS[metric.direction]) for name, metric in metrics.items())


def figure_cell(system: SystemOfRuns, name: str, may_mark: bool, other: str = BASE) -> Cell:
    """One figure of a system; a difference is marked where that is allowed and the interval leaves zero out."""
    metric = system.figures.metrics.get(name)
    if metric is None or metric.mean is None:
        reasons = {run.evaluation.missing[name] for run in system.runs if name in run.evaluation.missing}
        return Cell(why_missing="; ".join(sorted(reasons)))
    difference = system.figures.differences.get(name)
    mark = verdict(difference, metric.direction) if difference is not None and may_mark else ""
    return Cell(
        mean=number(metric.mean),
        interval=interval(metric.low, metric.high),
        median=number(metric.median),
        num=NOT_AVAILABLE if metric.num is None else str(metric.num),
        difference=_difference(difference, other) or system.figures.why_no_difference,
        mark=mark,
        mark_text=f"{_MARKS[mark]} {other}" if mark else "",
    )


def _difference(difference: Difference | None, other: str) -> str:
    if difference is None or difference.mean is None:
        return ""
    sign = "+" if difference.mean > 0 else ""
    return f"to {other}: {sign}{number(difference.mean)} {interval(difference.low, difference.high)}"


def _count(figures: System, name: str) -> str:
    count, num_clips = figures.counts.get(name), figures.counts.get(_NUM_CLIPS)
    if count is None:
        return NOT_AVAILABLE
    return str(count) if num_clips is None else f"{count} of {num_clips}"


def _range(values: Sequence[float | None]) -> str:
    """The range over the runs: the same system takes another time in each."""
    measured = sorted(value for value in values if value is not None)
    ends = (number(value) for value in (measured[0], measured[-1])) if measured else (NOT_AVAILABLE,)
    return " to ".join(dict.fromkeys(ends))


def _are_one(group: SystemOfRuns, own: SystemOfRuns) -> bool:
    """Whether figures agree and come from the same weights; a tuned model is its own, recordings are no model's."""
    if group.name == TUNED or (group.figures.metrics, group.figures.counts) != (
        own.figures.metrics,
        own.figures.counts,
    ):
        return False
    models = {system.runs[0].record.get("base_fingerprint") for system in (group, own)}
    return group.name == REFERENCE or len(models) == 1


def missing_metrics(runs: Sequence[Run]) -> Mapping[str, Mapping[str, str]]:
    """Metric, or whole system -> reason -> the runs, comma-separated, in which it was not measured for that reason."""
    found: dict[str, dict[str, str]] = {}
    for run in runs:
        for name, reason in run.evaluation.missing.items():
            reasons = found.setdefault(name, {})
            reasons[reason] = f"{reasons[reason]}, {run.name}" if reason in reasons else run.name
    return found
