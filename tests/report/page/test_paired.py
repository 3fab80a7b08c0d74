"""Differences between runs: the same sentences by the same noise index, marked only where their interval allows it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from calm_ft.metrics.bootstrap import is_better, paired_interval
from calm_ft.report.page.figures import TUNED, Difference, Evaluation, Metric, Run, System, Utterance
from calm_ft.report.page.metric_table import metric_table
from calm_ft.report.page.paired import against, why_not_paired

OTHER = (0.30, 0.50, 0.20, 0.40, 0.60, 0.35, 0.45, 0.25)
BETTER = tuple(value - step for value, step in zip(OTHER, (0.1, 0.2, 0.1, 0.15, 0.12, 0.18, 0.1, 0.11), strict=True))
MIXED = tuple(value + step for value, step in zip(OTHER, (0.2, -0.3, 0.1, -0.1, 0.3, -0.4, 0.1, -0.1), strict=True))


def _run(name: str, wer: Sequence[float], texts: str = "abcdefgh", **protocol: Any) -> Run:
    rows = tuple(
        Utterance(TUNED, index, 0, text, Path("none.wav"), {"wer": value})
        for index, (text, value) in enumerate(zip(texts, wer, strict=True))
    )
    to_base = {"wer": Difference(-9.0, -9.5, -8.5, 8, True)}
    tuned = System({"wer": Metric(sum(wer) / 8, None, None, None, 8, "rate", "lower")}, differences=to_base)
    evaluation = Evaluation({TUNED: tuned}, rows, protocol={"num_seeds": 1, "asr": "embedded", **protocol})
    return Run(name, Path(name), {"data_fingerprint": "d", "validation_fingerprint": "v"}, {}, {}, evaluation)


@pytest.mark.parametrize(("wer", "mark"), [(BETTER, "better"), (MIXED, ""), ([2 * each for each in OTHER], "worse")])
def test_a_run_is_marked_against_another_by_the_interval_of_their_pairs(wer: Sequence[float], mark: str) -> None:
    other, run = _run("other", OTHER), _run("run", wer)
    _, compared = against([other, run], other)
    found = compared.evaluation.systems[TUNED].differences["wer"]
    interval = paired_interval(*({(i, 0): value for i, value in enumerate(each)} for each in (wer, OTHER)))
    assert (found.mean, found.low, found.high) == (interval.mean, interval.low, interval.high)
    assert found.better is is_better(interval, "lower")
    cell = metric_table([other, compared], may_mark=True, other="other").rows[-1].cells[0]
    assert cell.mark == mark
    assert cell.mark_text.endswith(" than other") if mark else not cell.mark_text
    assert cell.difference.startswith("to other: ")


def test_the_run_that_others_are_compared_with_has_no_difference() -> None:
    other = _run("other", OTHER)
    (itself,) = against([other], other)
    assert itself.evaluation.systems[TUNED].differences == {}


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (_run("run", BETTER, texts="abcdefgx"), "other sentences"),
        (_run("run", BETTER, num_seeds=3), "evaluated in another way: num_seeds"),
        (_run("run", BETTER, asr="another"), "evaluated in another way: asr"),
        (_run("run", BETTER, model="of another strategy", voice="run/prompt.wav", seed=1), ""),
    ],
)
def test_runs_that_did_not_speak_the_same_are_not_comparable(run: Run, why: str) -> None:
    other = _run("other", OTHER)
    assert why_not_paired(run, other) == why
    _, compared = against([other, run], other)
    cell = metric_table([other, compared], may_mark=True, other="other").rows[-1].cells[0]
    assert (cell.difference == f"not comparable ({why})") == bool(why)
    assert (cell.mark == "better") == (not why)


def test_a_run_that_was_not_evaluated_has_no_pairs() -> None:
    other, run = _run("other", OTHER), _run("run", BETTER)
    bare = dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, was_evaluated=False))
    assert why_not_paired(bare, other) == "not evaluated"
