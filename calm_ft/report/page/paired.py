"""What one run gains over another: the differences of the same sentences spoken with the same noise index."""

import dataclasses
from collections.abc import Sequence

from calm_ft.metrics.bootstrap import Values, is_better, paired_interval
from calm_ft.report.page.figures import TUNED, Difference, Run, System

_MAY_DIFFER = ("model", "voice", "seed")
"""What the runs themselves bring: weights, the place of the prompt's file, the training seed."""


def against(runs: Sequence[Run], other: Run) -> list[Run]:
    """The runs with their tuned systems' differences to `other`'s instead of to their own base; itself has none."""
    return [_compared(run, other) for run in runs]


def why_not_paired(run: Run, other: Run) -> str:
    """Why the sentences of two runs are no pairs; empty where they are."""
    if not (run.evaluation.was_evaluated and other.evaluation.was_evaluated):
        return "not evaluated"
    if _spoken(run) != _spoken(other):
        return "other sentences"
    ours, theirs = run.evaluation.protocol, other.evaluation.protocol
    keys = dict.fromkeys([*ours, *theirs])
    different = [key for key in keys if key not in _MAY_DIFFER and ours.get(key) != theirs.get(key)]
    return f"evaluated in another way: {', '.join(different)}" if different else ""


def _compared(run: Run, other: Run) -> Run:
    tuned = run.evaluation.systems.get(TUNED)
    if tuned is None:
        return run
    if run is other:
        paired = dataclasses.replace(tuned, differences={})
    elif reason := why_not_paired(run, other):
        paired = dataclasses.replace(tuned, differences={}, why_no_difference=f"not comparable ({reason})")
    else:
        paired = dataclasses.replace(tuned, differences=_differences(run, other, tuned))
    systems = {**run.evaluation.systems, TUNED: paired}
    return dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, systems=systems))


def _differences(run: Run, other: Run, tuned: System) -> dict[str, Difference]:
    found = {}
    for name, metric in tuned.metrics.items():
        interval = paired_interval(_values(run, name), _values(other, name))
        if interval.mean is not None:
            better = is_better(interval, metric.direction)
            found[name] = Difference(interval.mean, interval.low, interval.high, interval.n, better)
    return found


def _values(run: Run, name: str) -> Values:
    rows = (each for each in run.evaluation.utterances if each.system == TUNED)
    return {(each.index, each.seed): value for each in rows if (value := each.metrics.get(name)) is not None}


def _spoken(run: Run) -> set[tuple[int, int, str | None]]:
    """The sentences with their texts, so that the third of one run is the third of the other."""
    return {(each.index, each.seed, each.text) for each in run.evaluation.utterances if each.system == TUNED}
