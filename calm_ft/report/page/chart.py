"""One chart as coordinates, for the template to write as SVG: lines over steps, or points with intervals.

Colours are classes s0, s1, ..., one a run, so that the page's style decides them for light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

from calm_ft.report.page.figures import Curve
from calm_ft.report.page.wording import number, quantity

WIDTH, HEIGHT = 320, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 36
MAX_POINTS = 200
"""A curve with more points is thinned: there are no more pixels."""
_MANY = 15
_CONSTANT = 1e-4  # differences below this share are rounding, and tick labels could not tell them apart


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """`points` as SVG wants them; `dots` are drawn too where there are few."""

    style: str
    points: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mark:
    """A point, and its interval from `low` to `high` where it has one; `name` is read to whoever cannot see it."""

    style: str
    name: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Chart:
    title: str
    x_label: str
    description: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    levels: tuple[Line, ...] = ()
    """Horizontal lines: what the base reaches."""


@dataclass(frozen=True)
class Point:
    """A run's cost x and quality y, with the quality's interval."""

    style: str
    name: str
    x: float
    y: float
    low: float
    high: float


class _Axis:
    """Values to coordinates between two ends; logarithmic where values differ by more than a factor of four."""

    def __init__(self, values: Sequence[float], ends: tuple[float, float], may_be_log: bool = False) -> None:
        low, high = min(values), max(values)
        self._is_log = may_be_log and low > 0 and high > 4 * low
        if self._is_log:
            low, high = low / 1.3, high * 1.3
        else:
            is_constant = high - low <= _CONSTANT * max(abs(high), abs(low))
            room = (max(abs(high), abs(low)) * 0.1 or 1.0) if is_constant else (high - low) * 0.06
            low, high = low - room, high + room
        self._low, self._high, self._ends = self._scale(low), self._scale(high), ends
        locator = LogLocator(subs=(1, 2, 5)) if self._is_log else MaxNLocator(nbins=4)
        self._ticks = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]

    def __call__(self, value: float) -> float:
        share = (self._scale(value) - self._low) / (self._high - self._low)
        return round(self._ends[0] + share * (self._ends[1] - self._ends[0]), 1)

    def ticks(self, as_quantity: bool) -> tuple[Tick, ...]:
        step = math.ceil(len(self._ticks) / 5)
        write = quantity if as_quantity else lambda value: f"{value:.4g}".replace("-", "−")
        return tuple(Tick(self(value), write(value)) for value in self._ticks[::step])

    def _scale(self, value: float) -> float:
        return math.log10(value) if self._is_log else value


def line_chart(title: str, curves: Sequence[tuple[str, str, Curve]]) -> Chart:
    """A chart of (style, run, curve) over steps.

    Raises ValueError where there is no point.
    """
    points = [point for _, _, curve in curves for point in curve]
    x, y = _axes([step for step, _ in points], [value for _, value in points])
    ends = (f"{name}: {number(curve[0][1])} to {number(curve[-1][1])}" for _, name, curve in curves if curve)
    lines = tuple(_line(style, _thinned(curve), x, y) for style, _, curve in curves if curve)
    description = f"{title} over steps, first to last: {'; '.join(ends)}."
    return Chart(title, "step", description, x.ticks(True), y.ticks(False), lines)


def scatter_chart(title: str, x_label: str, points: Sequence[Point], base: float | None) -> Chart:
    """A chart of quality against cost, with the base's quality as a level where it is known.

    Raises ValueError where there is no point.
    """
    heights = [value for point in points for value in (point.y, point.low, point.high)]
    x, y = _axes([point.x for point in points], [*heights, *(() if base is None else (base,))], may_be_log=True)
    marks = tuple(
        Mark(
            point.style,
            f"{point.name}: {quantity(point.x)}, {number(point.y)}",
            x(point.x),
            y(point.y),
            y(point.low),
            y(point.high),
        )
        for point in points
    )
    level = () if base is None else (Line("base", f"{LEFT},{y(base)} {WIDTH - RIGHT},{y(base)}", ()),)
    described = "; ".join(f"{point.name} {number(point.y)} at {quantity(point.x)}" for point in points)
    described += "" if base is None else f"; base {number(base)}"
    description = f"{title} against {x_label}: {described}."
    return Chart(title, x_label, description, x.ticks(True), y.ticks(False), (), marks, level)


def _axes(xs: Sequence[float], ys: Sequence[float], may_be_log: bool = False) -> tuple[_Axis, _Axis]:
    return _Axis(xs, (LEFT, WIDTH - RIGHT), may_be_log), _Axis(ys, (HEIGHT - BOTTOM, TOP))


def _line(style: str, curve: Curve, x: _Axis, y: _Axis) -> Line:
    places = tuple((x(step), y(value)) for step, value in curve)
    return Line(style, " ".join(f"{across},{up}" for across, up in places), places if len(places) <= _MANY else ())


def _thinned(curve: Curve) -> Curve:
    """At most MAX_POINTS + 1 points, evenly taken, the last one among them."""
    step = math.ceil(len(curve) / MAX_POINTS)
    return (*curve[::step], curve[-1]) if step > 1 else curve
