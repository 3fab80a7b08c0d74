"""Rows of options in which any two options of different groups, if they fit, stand together at least once."""

from functools import cache
from itertools import combinations

from calm_ft.config import CONF

GROUPS = (
    "experiment",
    "objective",
    "strategy",
    "optimizer",
    "optimizer/schedule",
    "trainer",
    "logger",
    "evaluation",
    "data",
    "objective/interpolant",
    "objective/time_sampler",
    "objective/noise_sampler",
    "objective/weighting",
    "objective/stop_gradient",
)
NONE = ""
Row = dict[str, str]


@cache
def rows_that_cover_all_pairs() -> list[list[str]]:
    """Greedy: each row begins with a pair that no row has yet, and takes in every other group what adds most pairs."""
    missing = {pair for first, second in combinations(GROUPS, 2) for pair in _fitting_pairs(first, second)}
    rows: list[list[str]] = []
    while missing:
        row: Row = dict(min(missing))
        for group in GROUPS:
            if group not in row:
                longer = [{**row, group: option} for option in _options(group) if _fits({**row, group: option})]
                row = max(longer, key=lambda each: len(missing & _pairs(each)))
        missing -= _pairs(row)
        rows.append([f"{group}={row[group]}" for group in GROUPS if row[group]])
    return rows


def _options(group: str) -> list[str]:
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [*names, NONE] if group.startswith("objective") else names


def _pairs(row: Row) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    ordered = [(group, row[group]) for group in GROUPS if group in row]
    return set(combinations(ordered, 2))


def _fitting_pairs(first: str, second: str) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    pairs = {((first, one), (second, other)) for one in _options(first) for other in _options(second)}
    return {pair for pair in pairs if _fits(dict(pair))}


def _fits(row: Row) -> bool:
    """Chatterbox's experiments have their own objective, which has no parts; one of Pocket TTS's lacks a part."""
    parts = [group for group in row if group.startswith("objective/") and row[group]]
    objective = row.get("objective", NONE)
    if row.get("experiment", NONE).startswith("chatterbox"):
        return not objective and not parts
    if objective.startswith("chatterbox"):
        return not parts
    return not (objective == "flow_matching" and row.get("objective/stop_gradient"))
