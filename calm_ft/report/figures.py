"""How figures are named, ordered and written, in the terminal's table and in the page alike.

Rates and shares are written in percent, and differences of them in points (of percent); all other figures keep their
unit, which stands beside the figure's name.
"""

import math
from collections.abc import Iterable, Mapping

from calm_ft.metrics.registry import FIGURES, HEADLINES, TIMINGS
from calm_ft.report.result import BASE, CODEC, REFERENCE, TUNED, Comparison, MetricSummary

NOT_AVAILABLE = "n/a"
SYSTEM_ORDER = (REFERENCE, CODEC, BASE, TUNED)
SYSTEM_NAMES = {REFERENCE: "recordings"}
_BETTER = {"lower": "lower is better", "higher": "higher is better", "none": ""}
_PERCENT = ("rate", "share")
_TIMING_NAMES = {figure.name for figure in TIMINGS}


def label(name: str) -> str:
    """A figure's plain name; of one that no registry knows, its own name without underscores."""
    figure = FIGURES.get(name)
    return name.replace("_", " ") if figure is None else figure.label


def explained(name: str, figure: MetricSummary) -> str:
    """A figure's name in settings, its unit, and which way is better: "mcd_db (dB, lower is better)"."""
    unit = "" if figure.unit in _PERCENT or figure.unit == "ratio" else figure.unit
    more = ", ".join(filter(None, (unit, _BETTER[figure.direction])))
    return f"{name} ({more})" if more else name


def system_name(system: str) -> str:
    """What a system is called in a report."""
    return SYSTEM_NAMES.get(system, system)


def ordered_systems(names: Iterable[str]) -> list[str]:
    """Recordings, codec, base, tuned, then all others by name."""
    present = set(names)
    return [name for name in SYSTEM_ORDER if name in present] + sorted(present - set(SYSTEM_ORDER))


def measured(comparisons: Iterable[Comparison], timings: bool = False) -> dict[str, MetricSummary]:
    """Each figure that some system has, with one system's values, in the order of the registry.

    A figure of the recordings alone says nothing of a model, and is left out.
    """
    found: dict[str, MetricSummary] = {}
    for comparison in comparisons:
        for system in ordered_systems(comparison.systems):
            for name, figure in comparison.systems[system].metrics.items():
                if figure.mean is not None and (timings or name not in _TIMING_NAMES):
                    found.setdefault(name, figure)
    known = {name: found[name] for name in FIGURES if name in found}
    return {**known, **found}


def headlines(names: Iterable[str], doubted: Iterable[str] = ()) -> list[str]:
    """The figure that answers each of the main questions: the first that was measured, undoubted where one is."""
    present, doubts = set(names), set(doubted)
    chosen = []
    for candidates in HEADLINES:
        answers = [name for name in candidates if name in present]
        trusted = [name for name in answers if name not in doubts]
        chosen += (trusted or answers)[:1]
    return chosen


def number(value: float | None) -> str:
    """Three digits that count; n/a for None."""
    if value is None:
        return NOT_AVAILABLE
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if 0 < size < 0.001:
        return f"{value:.1e}"
    places = 0 if size == 0 else min(3, max(0, 2 - math.floor(math.log10(float(f"{size:.3g}")))))
    return f"{value:.{places}f}"


def quantity(value: float | None, unit: str = "") -> str:
    """A large number with a suffix: 410k, 89.4M, 1.2 GB with unit="B"."""
    if value is None:
        return NOT_AVAILABLE
    for scale, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            short = f"{value / scale:.3g}"
            return f"{short} {'G' if suffix == 'B' else suffix}{unit}" if unit else f"{short}{suffix}"
    return f"{value:.4g} {unit}".strip()


def value_text(value: float | None, unit: str) -> str:
    """A figure: 0.125 of a rate is 12.5%."""
    if value is None or unit not in _PERCENT:
        return number(value)
    return f"{_percent(value)}%"


def difference_text(value: float, unit: str) -> str:
    """A difference with its sign: -0.042 of a rate is "-4.2 points"."""
    text = f"{_percent(value)} points" if unit in _PERCENT else number(value)
    return f"+{text}" if value > 0 else text


def interval_text(low: float | None, high: float | None, unit: str) -> str:
    """An interval, in percent where its unit is a rate; empty where there is none."""
    if low is None or high is None:
        return ""
    write = _percent if unit in _PERCENT else number
    return f"{write(low)} to {write(high)}"


def _percent(share: float) -> str:
    return f"{100 * share:.{1 if abs(share) >= 0.001 or share == 0 else 2}f}"


def by_reason(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """(the labels of the figures that a reason concerns, the reason), each reason once."""
    labels: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        labels.setdefault(reason, []).append(label(name))
    return [(", ".join(dict.fromkeys(each)), reason) for reason, each in labels.items()]
