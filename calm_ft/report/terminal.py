"""The result of an evaluation on the terminal: one table, then what could not be measured, and the warnings last.

A row is a figure, a column a system. Main figures come first, then all others, clips that went wrong, the voices that
were not tuned to, and what the model itself computes. The table fits 80 columns; where there is room, figures have
their intervals and medians too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from calm_ft.report.figures import (
    NOT_AVAILABLE,
    by_reason,
    difference_text,
    explained,
    headlines,
    interval_text,
    label,
    measured,
    number,
    ordered_systems,
    system_name,
    value_text,
)
from calm_ft.report.result import (
    BASE,
    CODEC,
    FLAGS,
    REFERENCE,
    Comparison,
    Difference,
    EvaluationResult,
    MetricSummary,
    SystemSummary,
)

EXPLANATION = (
    '"recordings" are the true recordings: what a figure makes of them is its own error. "codec" is their round trip '
    "through the codec, which no model over it can exceed. Nobody listened. A change is called better or worse where "
    "the 95 % interval of the paired difference from the base excludes zero; of many figures, one in twenty does so by "
    "chance. Intervals cover the choice of sentences, not another training seed."
)
MAX_EXCLUDED_SHOWN = 10
_STYLES = {"better": "green", "worse": "red"}

Residuals = Mapping[str, Mapping[str, float]]
"""Row title -> system -> value."""


def print_result(console: Console, result: EvaluationResult, residuals: Residuals | None = None) -> None:
    """Print the table of an evaluation, then reasons and notes, and last what went wrong with the speech.

    Args:
        residuals: row title -> system -> value of what the model itself computes, such as the validation residual.
    """
    table = result_table(result, residuals or {}, is_wide=True)
    unlimited = console.options.update(width=10_000)  # a measure is never above the width that it is taken for
    if console.measure(table, options=unlimited).maximum > console.width:
        table = result_table(result, residuals or {}, is_wide=False)
    console.print(table)
    for line in reason_lines(result.missing):
        console.print(line, style="dim", markup=False, highlight=False)
    for line in _excluded_lines(result):
        console.print(line, style="dim", markup=False, highlight=False)
    if result.systems:
        console.print(EXPLANATION, style="dim", markup=False, highlight=False)
    for labels, reason in by_reason(_doubts(result)):
        console.print(f"[yellow]no verdict on {escape(labels)}:[/] {escape(reason)}", highlight=False)
    for note in result.notes:
        console.print(f"[bold]note:[/] {escape(note)}", highlight=False)
    for warning in result.warnings:
        console.print(Padding(f"[bold red]WARNING: {escape(warning)}[/]", (1, 0, 0, 0)), highlight=False)


def result_table(result: EvaluationResult, residuals: Residuals, is_wide: bool) -> Table:
    """The table of `print_result`; `is_wide` adds intervals, medians and the spread over seeds to each figure."""
    columns = ordered_systems({*result.systems, *(name for row in residuals.values() for name in row)})
    compared = list(result.against_base)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.title, table.title_justify, table.title_style = _title(result), "left", "bold"
    table.add_column("figure", width=30 if is_wide else None, min_width=22, overflow="fold")
    for name in columns:
        table.add_column(system_name(name), justify="right", no_wrap=True)
    for name in compared:
        title = "from base" if len(compared) == 1 else f"{name} from base"
        table.add_column(title, justify="right", no_wrap=is_wide)
    rows = _Rows(table, columns, compared, is_wide)
    rows.add_figures(result, result.doubts)
    rows.add_flags(result)
    voices = result.base_voices
    if voices.systems:
        rows.add_title(f"In other voices ({', '.join(voices.names)})")
        rows.add_figures(voices, result.doubts, only_directed=True)
        rows.add_flags(voices)
    if residuals:
        rows.add_title("Computed by the model; no judge of quality")
        for row_title, values in residuals.items():
            rows.add(escape(row_title), [number(values.get(name)) if name in values else "" for name in columns])
    return table


def reason_lines(missing: Mapping[str, str]) -> list[str]:
    """One line a reason for what could not be measured, with the figures that it concerns."""
    return [f"not measured: {labels}: {reason}" for labels, reason in by_reason(missing)]


@dataclass(frozen=True)
class _Rows:
    """Adds rows to a table whose columns are the figure, `columns` of systems, and differences of `compared`."""

    table: Table
    columns: list[str]
    compared: list[str]
    is_wide: bool

    def add(self, title: str, cells: Iterable[str], differences: Iterable[str] = (), end_section: bool = False) -> None:
        """A row of texts with markup."""
        shown = list(differences) or [""] * len(self.compared)
        self.table.add_row(title, *cells, *shown, end_section=end_section)

    def add_title(self, title: str) -> None:
        """A line between groups of rows."""
        self.table.add_section()
        self.table.add_row(f"[bold]{escape(title)}[/]")

    def add_figures(self, comparison: Comparison, doubts: Mapping[str, str], only_directed: bool = False) -> None:
        """A row for each figure that was measured, the main ones first."""
        figures = measured([comparison], timings=True)
        if only_directed:
            figures = {name: figure for name, figure in figures.items() if figure.direction != "none"}
        main = headlines(figures, doubts)
        for name in [*main, *(name for name in figures if name not in main)]:
            title = f"{escape(label(name))}\n[dim]{escape(explained(name, figures[name]))}[/]"
            cells = [self._cell(comparison.systems.get(system), name) for system in self.columns]
            differences = [
                self._difference(comparison.against_base.get(system, {}).get(name), figures[name], name in doubts)
                for system in self.compared
            ]
            self.add(title, cells, differences, end_section=bool(main) and name == main[-1])

    def add_flags(self, comparison: Comparison) -> None:
        """How many clips of each system went wrong, and in which way."""
        for flag in FLAGS:
            counts = [_count(system, comparison.systems.get(system), flag) for system in self.columns]
            if any(counts):
                self.add(label(flag) if label(flag) == flag else f"{label(flag)} [dim]({flag})[/]", counts)

    def _cell(self, system: SystemSummary | None, name: str) -> str:
        figure = None if system is None else system.metrics.get(name)
        if figure is None or figure.mean is None:
            return f"[dim]{NOT_AVAILABLE}[/]" if system is not None else ""
        text = value_text(figure.mean, figure.unit)
        if not self.is_wide:
            return text
        median = f"median {value_text(figure.median, figure.unit)}" if figure.median is not None else ""
        more = (interval_text(figure.low, figure.high, figure.unit), median, _seeds(figure))
        lines = [text, *filter(None, more)]
        return "\n[dim]".join(lines) + "[/]" * (len(lines) - 1)

    def _difference(self, difference: Difference | None, figure: MetricSummary, is_doubted: bool) -> str:
        if difference is None or difference.mean is None:
            return ""
        text = difference_text(difference.mean, figure.unit)
        verdict = difference.verdict(figure.direction)
        between = " " if self.is_wide else "\n"
        if is_doubted or difference.doubt:
            text += f"{between}[yellow]no verdict[/]"
        elif verdict:
            text += f"{between}[bold {_STYLES[verdict]}]{verdict}[/]"
        interval = interval_text(difference.low, difference.high, figure.unit)
        return f"{text}\n[dim]{interval}[/]" if interval else text


def _doubts(result: EvaluationResult) -> dict[str, str]:
    """Figure -> why it may not judge, for those that may not in other voices alone too."""
    rows = [*result.base_voices.against_base.values(), *result.against_base.values()]
    found = {name: each.doubt for row in rows for name, each in row.items() if each.doubt and each.mean is not None}
    return {**found, **result.doubts}


def _title(result: EvaluationResult) -> str:
    step = "" if result.step is None else f", step {result.step}"
    return escape(f"{result.run}{step}")


def _count(name: str, system: SystemSummary | None, flag: str) -> str:
    if system is None or flag not in system.counts:
        return ""
    count = system.counts[flag]
    text = f"{count} of {system.counts['utterances']}" if "utterances" in system.counts else str(count)
    is_fault = count > 0 and name not in (REFERENCE, CODEC, BASE)
    return f"[bold red]{text}[/]" if is_fault else text


def _seeds(figure: MetricSummary) -> str:
    spread = figure.seeds
    if spread is None:
        return ""
    return f"seeds: sd {value_text(spread.std, figure.unit)}\n{interval_text(spread.low, spread.high, figure.unit)}"


def _excluded_lines(result: EvaluationResult) -> list[str]:
    lines = [f"left out: {each.path}: {each.reason}" for each in result.excluded[:MAX_EXCLUDED_SHOWN]]
    rest = len(result.excluded) - MAX_EXCLUDED_SHOWN
    if not result.base_voices.systems and result.base_voices.reason is not None:
        lines.append(f"not measured: other voices: {result.base_voices.reason}")
    return [*lines, f"left out: {rest} more, named in summary.json"] if rest > 0 else lines
