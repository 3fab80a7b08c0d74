"""Which charts the page has: the course of each training, and what quality costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calm_ft.report.page.chart import Chart, Point, line_chart, scatter_chart
from calm_ft.report.page.facts import export_bytes, trained_parameters, training_sec
from calm_ft.report.page.figures import BASE, TUNED, Run
from calm_ft.report.page.metric_table import metric_columns, systems_of

NUM_STYLES = 8
NUM_SHOWN_METRICS = 4
_SHOWN = (
    *("val/residual", "train/loss", "val_base/residual"),
    *("eval/cer", "eval/mcd_db", "eval/speaker_similarity_resemblyzer", "eval/sentence_identified"),
)
_COSTS: dict[str, Callable[[Run], float | None]] = {
    "trained parameters": trained_parameters,
    "training time (s)": training_sec,
    "export (bytes)": export_bytes,
}


@dataclass(frozen=True)
class Charts:
    """Charts that are shown, and those that are folded away."""

    shown: tuple[Chart, ...]
    folded: tuple[Chart, ...]


def style(number: int) -> str:
    """The class by which a run's colour and dashes are known; after eight they begin anew."""
    return f"s{number % NUM_STYLES}"


def curve_charts(runs: Sequence[Run]) -> Charts:
    """A chart for each value that some run logged at two steps; losses and the main evaluated figures are shown.

    Systems have charts of their own: a loss of one says nothing of a loss of another.
    """
    shown: list[Chart] = []
    folded: list[Chart] = []
    numbered = list(enumerate(runs))
    systems = dict.fromkeys(run.record.get("feature_fingerprint") for run in runs)
    for system in systems:
        own = [(number, run) for number, run in numbered if run.record.get("feature_fingerprint") == system]
        suffix = f" ({', '.join(run.name for _, run in own)})" if len(systems) > 1 else ""
        names = sorted({name for _, run in own for name, curve in run.curves.items() if len(curve) > 1})
        for name in sorted(names, key=lambda name: _SHOWN.index(name) if name in _SHOWN else len(_SHOWN)):
            curves = [(style(number), run.name, run.curves[name]) for number, run in own if name in run.curves]
            (shown if name in _SHOWN else folded).append(line_chart(name + suffix, curves))
    return Charts(tuple(shown), tuple(folded))


def cost_charts(runs: Sequence[Run]) -> Charts:
    """For each metric that can be better or worse, its value after tuning against each cost; the first ones shown."""
    columns = metric_columns([system for system in systems_of(runs) if system.name == TUNED])
    names = [name for name, metric in columns.items() if metric.direction != "none"]
    by_metric = [
        [
            scatter_chart(
                f"{name} ({columns[name].unit})" if columns[name].unit else name, cost, points, _base(runs, name)
            )
            for cost, of in _COSTS.items()
            if len(points := _points(runs, name, of)) > 1
        ]
        for name in names
    ]
    by_metric = [row for row in by_metric if row]
    shown, folded = by_metric[:NUM_SHOWN_METRICS], by_metric[NUM_SHOWN_METRICS:]
    return Charts(tuple(chart for row in shown for chart in row), tuple(chart for row in folded for chart in row))


def _points(runs: Sequence[Run], name: str, cost: Callable[[Run], float | None]) -> list[Point]:
    points = []
    for number, run in enumerate(runs):
        tuned = run.evaluation.systems.get(TUNED)
        metric, x = None if tuned is None else tuned.metrics.get(name), cost(run)
        if metric is not None and metric.mean is not None and x is not None:
            low = metric.mean if metric.low is None else metric.low
            high = metric.mean if metric.high is None else metric.high
            points.append(Point(style(number), run.name, x, metric.mean, low, high))
    return points


def _base(runs: Sequence[Run], name: str) -> float | None:
    """What the base reaches, where all runs have the same one."""
    means = {run.evaluation.systems[BASE].metrics[name].mean for run in runs if _has_base(run, name)}
    return means.pop() if len(means) == 1 else None


def _has_base(run: Run, name: str) -> bool:
    return BASE in run.evaluation.systems and name in run.evaluation.systems[BASE].metrics
