"""Figures by systems: the main ones as cards with a drawing, all of them as one table.

A change, from the base or from another run, is called better or worse only where its paired interval excludes zero and
nothing speaks against the figure as a judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from calm_ft.metrics.registry import FIGURES, TIMINGS
from calm_ft.report.figures import (
    NOT_AVAILABLE,
    difference_text,
    explained,
    headlines,
    interval_text,
    label,
    measured,
    ordered_systems,
    system_name,
    value_text,
)
from calm_ft.report.page.charts import NUM_STYLES, DrawnInterval, dots
from calm_ft.report.result import (
    BASE,
    CODEC,
    FLAGS,
    REFERENCE,
    TUNED,
    BaseVoicesResult,
    Comparison,
    Difference,
    MetricSummary,
    SystemSummary,
)
from calm_ft.report.runs import Run

_TIMINGS = {figure.name for figure in TIMINGS}


@dataclass(frozen=True)
class Column:
    """One system and the runs whose it is: all runs from one base share the base's.

    `style` is the class of its colour; `letter` is empty where it is not one run's own.
    """

    system: str
    runs: tuple[Run, ...]
    summary: SystemSummary
    letter: str
    style: str
    name: str


@dataclass(frozen=True)
class Cell:
    """One figure as texts; `doubt` is why there is no verdict, `missing` why there is no figure."""

    value: str = NOT_AVAILABLE
    interval: str = ""
    more: str = ""
    change: str = ""
    change_interval: str = ""
    verdict: str = ""
    doubt: str = ""
    missing: str = ""


@dataclass(frozen=True)
class FigureRow:
    """One figure of all systems. `name` is what settings call it."""

    name: str
    label: str
    explained: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class FigureCard:
    """A main figure: its row, and the means with their intervals as a drawing (SVG) with a line a system."""

    row: FigureRow
    drawing: str
    doubt: str
    lines: tuple[tuple[Column, Cell], ...]


@dataclass(frozen=True)
class Figures:
    """What the page shows of figures; `flags` are rows of counts."""

    columns: tuple[Column, ...]
    cards: tuple[FigureCard, ...]
    rows: tuple[FigureRow, ...]
    flags: tuple[tuple[str, tuple[str, ...]], ...]


def style(letter: str) -> str:
    """The class by which a run's colour is known; after eight they begin anew."""
    number = sum((ord(each) - ord("A") + 1) * 26**place for place, each in enumerate(reversed(letter))) - 1
    return f"s{number % NUM_STYLES}"


def figures(runs: Sequence[Run], may_judge: bool) -> Figures:
    """The figures of all runs in their tuned voices; no verdicts where the runs cannot be compared."""
    columns = columns_of(runs, {run.letter: run.result for run in runs})
    return _figures(runs, columns, {run.letter: run.result for run in runs}, may_judge)


def base_voices(runs: Sequence[Run], may_judge: bool) -> Figures:
    """The same in voices that were not tuned to, without what has no good side; no cards where there are none."""
    heard = [run for run in runs if run.result.base_voices.systems]
    results: dict[str, Comparison] = {run.letter: _directed(run.result.base_voices) for run in heard}
    return _figures(heard, columns_of(heard, results), results, may_judge)


def columns_of(runs: Sequence[Run], results: Mapping[str, Comparison]) -> tuple[Column, ...]:
    """All systems in the order of reports; those that are one and the same in several runs stand once."""
    found: list[Column] = []
    for system in ordered_systems({name for result in results.values() for name in result.systems}):
        groups: list[Column] = []
        for run in runs:
            summary = results[run.letter].systems.get(system)
            if summary is None:
                continue
            own = Column(system, (run,), summary, "", "", "")
            same = [number for number, group in enumerate(groups) if _are_one(group, own)]
            if same:
                groups[same[0]] = replace(groups[same[0]], runs=(*groups[same[0]].runs, run))
            else:
                groups.append(own)
        found += [_named(group, sum(len(each.runs) for each in groups), len(runs)) for group in groups]
    return tuple(found)


def _named(column: Column, num_owners: int, num_runs: int) -> Column:
    """`num_owners` runs have this system, of `num_runs`; where all of them share it, it needs no names."""
    first = column.runs[0].letter
    if column.system == TUNED:
        return replace(column, letter=first, style=style(first), name="" if num_runs > 1 else "tuned")
    colour = column.system if column.system in (REFERENCE, CODEC, BASE) else style(first)
    owners = "" if len(column.runs) == num_owners else f" of {', '.join(run.letter for run in column.runs)}"
    return replace(column, style=colour, name=f"{system_name(column.system)}{owners}")


def _are_one(group: Column, own: Column) -> bool:
    """Whether figures agree and come from the same weights; a tuned model is its own, recordings are no model's."""
    if group.system == TUNED or _compared(group.summary) != _compared(own.summary):
        return False
    models = {column.runs[0].record.get("base_fingerprint") for column in (group, own)}
    return group.system == REFERENCE or len(models) == 1


def _compared(summary: SystemSummary) -> tuple[object, ...]:
    """All but times, which differ with the machine's load."""
    return {name: each for name, each in summary.metrics.items() if name not in _TIMINGS}, summary.counts


def _directed(result: BaseVoicesResult) -> BaseVoicesResult:
    systems = {
        name: each.model_copy(
            update={"metrics": {key: figure for key, figure in each.metrics.items() if figure.direction != "none"}}
        )
        for name, each in result.systems.items()
        if name != REFERENCE
    }
    return result.model_copy(update={"systems": systems})


def _figures(
    runs: Sequence[Run], columns: Sequence[Column], results: Mapping[str, Comparison], may_judge: bool
) -> Figures:
    found = measured(results.values(), timings=True)
    missing = {name for run in runs for name in run.result.missing if name in FIGURES} - found.keys()
    main = headlines(found, {name for run in runs for name in run.result.doubts})
    rows = {
        name: FigureRow(
            name,
            label(name),
            explained(name, figure),
            tuple(_cell(column, name, results, may_judge) for column in columns),
        )
        for name, figure in found.items()
    }
    cards = tuple(_card(rows[name], found[name].unit, columns) for name in main)
    more = tuple(
        FigureRow(name, label(name), name, tuple(Cell(missing=_why_missing(column, name)) for column in columns))
        for name in FIGURES
        if name in missing
    )
    flags = tuple((flag, counts) for flag in FLAGS if any(counts := tuple(_count(each, flag) for each in columns)))
    return Figures(tuple(columns), cards, (*rows.values(), *more), flags)


def _card(row: FigureRow, unit: str, columns: Sequence[Column]) -> FigureCard:
    lines = [
        (column, cell)
        for column, cell in zip(columns, row.cells, strict=True)
        if column.summary.mean(row.name) is not None and not _is_perfect(column, row.name)
    ]
    intervals = [_interval(column.summary.metrics[row.name], column.style) for column, _ in lines]
    bases = [column.summary.mean(row.name) for column, _ in lines if column.system == BASE]
    base = bases[0] if len(bases) == 1 else None
    doubts = dict.fromkeys(cell.doubt for _, cell in lines if cell.doubt)
    drawing = dots(intervals, base, is_percent=unit in ("rate", "share"))
    return FigureCard(row, drawing, " ".join(doubts), tuple(lines))


def _is_perfect(column: Column, name: str) -> bool:
    """Whether recordings were compared with themselves: that would only squeeze the drawing of all others."""
    figure = column.summary.metrics[name]
    return column.system == REFERENCE and figure.mean == figure.low == figure.high and figure.direction == "lower"


def _interval(figure: MetricSummary, colour: str) -> DrawnInterval:
    assert figure.mean is not None
    return DrawnInterval(colour, figure.mean, figure.low, figure.high)


def _cell(column: Column, name: str, results: Mapping[str, Comparison], may_judge: bool) -> Cell:
    figure = column.summary.metrics.get(name)
    if figure is None or figure.mean is None:
        return Cell(missing=_why_missing(column, name))
    run = column.runs[0]
    changes = results[run.letter].against_base.get(column.system, {})
    difference = None if name in _TIMINGS else changes.get(name)  # a machine's load changes between two timings
    median = "" if figure.median is None else f"median {value_text(figure.median, figure.unit)}, "
    cell = Cell(
        value=value_text(figure.mean, figure.unit),
        interval=interval_text(figure.low, figure.high, figure.unit),
        more=f"{median}n {figure.n}",
    )
    return (
        cell if difference is None else _with_change(cell, difference, figure, run.result.doubts.get(name), may_judge)
    )


def _with_change(cell: Cell, difference: Difference, figure: MetricSummary, doubt: str | None, may_judge: bool) -> Cell:
    if difference.mean is None:
        return cell
    why_not = doubt or difference.doubt or ""
    return replace(
        cell,
        change=difference_text(difference.mean, figure.unit),
        change_interval=interval_text(difference.low, difference.high, figure.unit),
        verdict=difference.verdict(figure.direction) if may_judge and not why_not else "",
        doubt=why_not,
    )


def _why_missing(column: Column, name: str) -> str:
    reasons = {run.result.missing[name] for run in column.runs if name in run.result.missing}
    return "; ".join(sorted(reasons))


def _count(column: Column, flag: str) -> str:
    count, clips = column.summary.counts.get(flag), column.summary.counts.get("utterances")
    if count is None:
        return ""
    return str(count) if clips is None else f"{count} of {clips}"
