"""A summary on the terminal: a row a metric, a column a system, the paired difference and what may be said of it."""

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from calm_ft.evaluation.summary import FLAGS

_ARROWS = {"lower": "lower is better", "higher": "higher is better", "none": ""}


EXPLANATION = """\
"reference" are the true recordings: what each metric makes of them is its own error. "codec" is their round trip: what
no model over this codec can exceed. Nobody listened. "better" and "worse" stand where the 95 % interval of the paired
difference from the base excludes zero; of many metrics, one in twenty does so by chance. Intervals cover the choice of
sentences, not another training seed."""


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Means with 95 % intervals, medians in brackets; metrics that no clip has are left out (see `missing_lines`)."""
    table = Table(box=box.SIMPLE_HEAD, title="mean, 95 % interval, (median)", title_justify="left")
    table.add_column("metric")
    systems, against = summary["systems"], summary["against_base"]
    for name in (*systems, *(f"{name} - base" for name in against)):
        table.add_column(name, justify="right")
    for name, figure in next(iter(systems.values()))["metrics"].items():
        if any(each["metrics"][name]["n"] for each in systems.values()):
            differences = [_difference(rows[name], figure["direction"]) for rows in against.values()]
            table.add_row(
                _title(name, figure), *(_cell(each["metrics"][name]) for each in systems.values()), *differences
            )
    for flag in FLAGS:
        cells = [f"{each['counts'][flag]} of {each['counts']['utterances']}" for each in systems.values()]
        table.add_row(flag, *cells, *("" for _ in against))
    return table


def missing_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line a reason for what could not be measured, with the figures that it concerns."""
    names: dict[str, list[str]] = {}
    for name, reason in summary["missing"].items():
        names.setdefault(reason, []).append(name)
    return [f"no {', '.join(each)}: {reason}" for reason, each in names.items()]


def _title(name: str, figure: Mapping[str, Any]) -> str:
    return f"{name}\n  {', '.join(filter(None, (figure['unit'], _ARROWS[figure['direction']])))}"


def _cell(figure: Mapping[str, Any]) -> str:
    if figure["mean"] is None:
        return "n/a"
    return f"{_number(figure['mean'])} ({_number(figure['median'])})\n{_interval(figure)}"


def _difference(row: Mapping[str, Any], direction: str) -> str:
    if row["mean"] is None:
        return "n/a"
    verdict = "better" if row["better"] else ("worse" if _is_worse(row, direction) else "")
    return f"{_number(row['mean'], '+')} {verdict}".rstrip() + f"\n{_interval(row)}"


def _is_worse(row: Mapping[str, Any], direction: str) -> bool:
    if row["better"] is None:
        return False
    return bool(row["low"] > 0 if direction == "lower" else row["high"] < 0)


def _interval(figure: Mapping[str, Any]) -> str:
    return "n/a" if figure["low"] is None else f"{_number(figure['low'])} .. {_number(figure['high'])}"


def _number(value: float, sign: str = "") -> str:
    """Three figures that count, and no more than three places."""
    places = 3 if value == 0 else min(3, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:{sign}.{places}f}"
