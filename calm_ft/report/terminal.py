"""A summary on the terminal: a row a metric, a column a system, the paired difference and what may be said of it."""

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from calm_ft.evaluation.summary import FLAGS

_MAX_EXCLUDED_SHOWN = 10
_ARROWS = {"lower": "lower is better", "higher": "higher is better", "none": ""}


EXPLANATION = """\
"reference" are the true recordings: what each metric makes of them is its own error. "codec" is their round trip: what
no model over this codec can exceed. Nobody listened. "better" and "worse" stand where the 95 % interval of the paired
difference from the base excludes zero; of many metrics, one in twenty does so by chance. Intervals cover the choice of
sentences, not another training seed."""


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Means with 95 % intervals, medians in brackets; metrics that no clip has are left out (see `missing_lines`).

    Where several seeds were spoken, a third line has the standard deviation and the range of the seeds' means.
    """
    several = any(figure["seeds"] for each in summary["systems"].values() for figure in each["metrics"].values())
    seeds = "standard deviation of seeds' means [range]" if several else "spread over seeds: n/a (one seed)"
    return _table(summary, f"mean, 95 % interval, (median); {seeds}", several)


def base_voices_table(summary: Mapping[str, Any]) -> Table | None:
    """The same of the base voices, without what has no better and no worse; None where there are none."""
    base_voices = summary["base_voices"]
    if "reason" in base_voices:
        return None
    return _table(base_voices, f"base voices (forgetting): {', '.join(base_voices['names'])}", directed=True)


def _table(summary: Mapping[str, Any], title: str, several_seeds: bool = False, directed: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("metric")
    systems, against = summary["systems"], summary["against_base"]
    for name in (*systems, *(f"{name} - base" for name in against)):
        table.add_column(name, justify="right")
    for name, figure in next(iter(systems.values()))["metrics"].items():
        is_shown = figure["direction"] != "none" or not directed
        if is_shown and any(each["metrics"][name]["n"] for each in systems.values()):
            differences = [_difference(rows[name], figure["direction"]) for rows in against.values()]
            table.add_row(
                _title(name, figure),
                *(_cell(each["metrics"][name], several_seeds) for each in systems.values()),
                *differences,
            )
    for flag in FLAGS:
        cells = [f"{each['counts'][flag]} of {each['counts']['utterances']}" for each in systems.values()]
        table.add_row(flag, *cells, *("" for _ in against))
    return table


def missing_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line a reason for what could not be measured, with the figures that it concerns; one a clip left out."""
    missing = dict(summary["missing"])
    if "reason" in summary["base_voices"]:
        missing["base voices (forgetting)"] = summary["base_voices"]["reason"]
    lines = reason_lines(missing)
    excluded = summary["excluded"]
    lines += [f"left out: {each['path']}: {each['reason']}" for each in excluded[:_MAX_EXCLUDED_SHOWN]]
    rest = len(excluded) - _MAX_EXCLUDED_SHOWN
    return [*lines, f"left out: {rest} more, named in summary.json"] if rest > 0 else lines


def reason_lines(missing: Mapping[str, str]) -> list[str]:
    """One line a reason, with the figures that it concerns."""
    names: dict[str, list[str]] = {}
    for name, reason in missing.items():
        names.setdefault(reason, []).append(name)
    return [f"no {', '.join(each)}: {reason}" for reason, each in names.items()]


def _title(name: str, figure: Mapping[str, Any]) -> str:
    return f"{name}\n  {', '.join(filter(None, (figure['unit'], _ARROWS[figure['direction']])))}"


def _cell(figure: Mapping[str, Any], several_seeds: bool) -> str:
    if figure["mean"] is None:
        return "n/a"
    cell = f"{_number(figure['mean'])} ({_number(figure['median'])})\n{_interval(figure)}"
    return f"{cell}\n{_spread(figure['seeds'])}" if several_seeds else cell


def _spread(seeds: Mapping[str, Any] | None) -> str:
    if seeds is None:
        return "seeds: n/a"
    return f"seeds: sd {_number(seeds['std'])} [{_number(seeds['low'])} .. {_number(seeds['high'])}]"


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
