"""Drawings by matplotlib as SVG that takes its colours from the page, for light and dark.

Lines are drawn in stand-in colours, which become the page's own (`var(--s0)`, ...) in the text of the SVG. Nothing in
one refers to the network, and the same values give the same text.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from calm_ft.report.figures import label, number, quantity

ROW_HEIGHT, AXIS_HEIGHT, DOTS_WIDTH = 44, 24, 136
"""In pixels: a line of `dots`, its axis, and its width. The page's style has the same."""
CURVE_SIZE = (340, 220)
MAX_POINTS = 200
"""A curve with more points is thinned: there are no more pixels."""
MIN_BARS, MAX_BARS = 8, 40
"""Of a histogram."""
NUM_STYLES = 8
"""Colours of runs; the ninth has the first one's again."""
_NAMES = (*(f"s{each}" for each in range(NUM_STYLES)), "reference", "codec", "base", "faint", "line")
_STAND_INS = {name: f"#{0xFA0000 + place:06x}" for place, name in enumerate(_NAMES)}
_MARKERS = "osD^vPX*"
_DASHES: tuple[object, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
_LABELLED = ("eval/", "val/residual")
_CURVE_TITLES = {"train/loss": "training loss", "val_base/residual": label("base_voices_residual")}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "calm_ft",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": _STAND_INS["line"],
    "axes.labelcolor": _STAND_INS["faint"],
    "text.color": _STAND_INS["faint"],
    "xtick.color": _STAND_INS["line"],
    "ytick.color": _STAND_INS["line"],
    "xtick.labelcolor": _STAND_INS["faint"],
    "ytick.labelcolor": _STAND_INS["faint"],
    "grid.color": _STAND_INS["line"],
    "grid.linewidth": 0.8,
}
_NOT_NEEDED = re.compile(
    r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>| font-family: [^;]*;| id=\"[a-z0-9_.]+_\d+\"", re.DOTALL
)
_ID = re.compile(r"(id=\"|#)([mp][0-9a-f]{10})\b")


@dataclass(frozen=True)
class DrawnInterval:
    """A mean in the colour `style`, with the ends of its interval where it has one."""

    style: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Series:
    """One run's curve or point: (x, y) pairs in the colour `style`; `low` and `high` are the ends of a point's y."""

    style: str
    letter: str
    points: Sequence[tuple[float, float]]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Chart:
    """A drawing (SVG) with its title in words, and what it shows for whoever cannot see it.

    `name` is what its values were logged as.
    """

    title: str
    drawing: str
    description: str
    name: str = ""


def dots(rows: Sequence[DrawnInterval], base: float | None, is_percent: bool = False) -> str:
    """A line a row, its mean as a dot on its interval, all on one axis; a dashed line stands at `base`."""
    size = (DOTS_WIDTH, ROW_HEIGHT * len(rows) + AXIS_HEIGHT)
    scale = 100 if is_percent else 1
    with matplotlib.rc_context(_SETTINGS):
        figure, axes = _empty(size)
        axes.set_position((0.08, AXIS_HEIGHT / size[1], 0.84, 1 - AXIS_HEIGHT / size[1]))
        if base is not None:
            axes.axvline(scale * base, color=_STAND_INS["base"], linestyle=(0, (3, 3)), linewidth=1)
        for place, row in enumerate(rows):
            colour = _STAND_INS[row.style]
            if row.low is not None and row.high is not None:
                ends = (scale * row.low, scale * row.high)
                axes.plot(ends, (place, place), color=colour, linewidth=2.5, solid_capstyle="round")
            axes.plot(scale * row.mean, place, "o", color=colour, markersize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
        axes.margins(x=0.08)
        axes.tick_params(length=3, pad=2, labelsize=10)
        return _svg(figure, size)


def curves(name: str, series: Sequence[Series]) -> Chart:
    """The values logged as `name` over steps, a line a run. Raises ValueError where there is no point."""
    title = _CURVE_TITLES.get(name) or label(name.rpartition("/")[2] if name.startswith(_LABELLED) else name)
    drawn = [each for each in series if each.points]
    if not drawn:
        raise ValueError(f"{name} has no points")
    with matplotlib.rc_context(_SETTINGS):
        figure, axes = _chart("step")
        for each in drawn:
            x, y = zip(*_thinned(each.points), strict=True)
            place = _place(each.style)
            axes.plot(
                x,
                y,
                color=_STAND_INS[each.style],
                linestyle=_DASHES[place % len(_DASHES)],
                linewidth=2,
                marker=_MARKERS[place] if len(x) <= 15 else None,
                markersize=4,
            )
        ends = "; ".join(
            f"{each.letter}: {number(each.points[0][1])} to {number(each.points[-1][1])}" for each in drawn
        )
        return Chart(title, _svg(figure, CURVE_SIZE), f"{title} over steps, first to last: {ends}.", name)


def costs(title: str, x_label: str, series: Sequence[Series], base: float | None) -> Chart:
    """Quality against cost, a dot a run, and the base's quality as a dashed line where it is known.

    Raises ValueError where there is no point.
    """
    xs = [each.points[0][0] for each in series]
    if not xs:
        raise ValueError(f"{title} has no points")
    with matplotlib.rc_context(_SETTINGS):
        figure, axes = _chart(x_label)
        if min(xs) > 0 and max(xs) > 4 * min(xs):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(_quantities())
        if base is not None:
            axes.axhline(base, color=_STAND_INS["base"], linestyle=(0, (3, 3)), linewidth=1)
        for each in series:
            ((x, y),) = each.points
            colour = _STAND_INS[each.style]
            if each.low is not None and each.high is not None:
                axes.plot((x, x), (each.low, each.high), color=colour, linewidth=1.5)
            axes.plot(x, y, _MARKERS[_place(each.style)], color=colour, markersize=7)
            axes.annotate(each.letter, (x, y), (6, 4), textcoords="offset points", color=colour)
        axes.margins(x=0.12, y=0.1)
        told = "; ".join(
            f"{each.letter} {number(each.points[0][1])} at {quantity(each.points[0][0])}" for each in series
        )
        told += "" if base is None else f"; base {number(base)}"
        return Chart(title, _svg(figure, CURVE_SIZE), f"{title} against {x_label}: {told}.")


def histogram(title: str, x_label: str, values: ArrayLike, name: str = "") -> Chart:
    """How many clips have which value, in as many bars as the root of their number.

    Raises ValueError where there is no value.
    """
    known = np.asarray(values, dtype=np.float64)
    if not known.size:
        raise ValueError(f"{title} has no values")
    nums, edges = np.histogram(known, min(MAX_BARS, max(MIN_BARS, round(known.size**0.5))))
    with matplotlib.rc_context(_SETTINGS):
        figure, axes = _chart(x_label)
        axes.set_ylabel("clips")
        axes.set_position((0.17, 0.2, 0.79, 0.75))
        axes.bar(edges[:-1], nums, np.diff(edges), align="edge", color=_STAND_INS["s0"], linewidth=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(_quantities())
        low, middle, high = (number(float(each)) for each in (known.min(), np.median(known), known.max()))
        told = f"median {middle}, from {low} to {high} {x_label}, {known.size:,} clips"
        return Chart(title, _svg(figure, CURVE_SIZE), told, name)


def _quantities() -> FuncFormatter:
    return FuncFormatter(lambda value, _: quantity(value))


def _empty(size: tuple[int, int]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72)  # SVG counts in points: one is a pixel here
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    return figure, axes


def _chart(x_label: str) -> tuple[Figure, Axes]:
    figure, axes = _empty(CURVE_SIZE)
    axes.set_position((0.15, 0.2, 0.81, 0.75))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_formatter(_quantities())
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(length=0)
    axes.tick_params(axis="x", length=3)
    return figure, axes


def _svg(figure: Figure, size: tuple[int, int]) -> str:
    """The drawing as an element of HTML, hidden from readers of the screen: its numbers stand beside it in words."""
    for artist in figure.findobj():
        artist.set_clip_on(False)  # clips would be looked up by names in the page, and nothing leaves its axes
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = _NOT_NEEDED.sub("", written.getvalue())
    for name, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    own = hashlib.sha256(text.encode()).hexdigest()[:6]  # names are the page's, so no two drawings may share one
    body = " ".join(_ID.sub(rf"\g<1>\g<2>{own}", text).replace("xlink:href", "href").partition(">")[2].split())
    return f'<svg viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}" aria-hidden="true">{body}'


def _place(style: str) -> int:
    return int(style[1:]) if style[1:].isdigit() else 0


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most MAX_POINTS + 1 points, evenly taken, the last one among them."""
    step = -(-len(points) // MAX_POINTS)
    return [*points[::step], points[-1]] if step > 1 else points
