"""What the table says, and above all when it marks a difference."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from calm_ft.report.page.facts import fact_rows, protocols_differ, why_not_comparable
from calm_ft.report.page.figures import Difference, Evaluation, Metric, Run, System
from calm_ft.report.page.forgetting import forgetting_table
from calm_ft.report.page.metric_table import metric_table, verdict
from calm_ft.report.page.wording import Scrubber


def _run(name: str, mean: float = 5.0, difference: Difference | None = None, **record: Any) -> Run:
    base = System({"mcd": Metric(7.0, 6.5, 7.5, 7.0, 8, "dB", "lower")}, {"silent": 0}, rtf=0.2 + mean / 100)
    differences = {} if difference is None else {"mcd": difference}
    tuned = System({"mcd": dataclasses.replace(base.metrics["mcd"], mean=mean)}, {"runaway": 1}, None, differences)
    evaluation = Evaluation(
        {"base": base, "tuned": tuned}, (), {"utmos": "no weights", "codec": "has none"}, {"num_seeds": 1}
    )
    facts = {"data_fingerprint": "d", "validation_fingerprint": "v"} | record
    return Run(name, Path("/nowhere") / name, facts, {}, {}, evaluation)


@pytest.mark.parametrize(
    ("low", "high", "direction", "better", "expected"),
    [
        (-2.0, -1.0, "lower", True, "better"),
        (1.0, 2.0, "lower", False, "worse"),
        (1.0, 2.0, "higher", True, "better"),
        (-2.0, -1.0, "higher", False, "worse"),
        (-2.0, 0.1, "lower", None, ""),
        (-2.0, 0.0, "lower", True, ""),  # the interval holds zero, whatever was judged
        (-2.0, -1.0, "lower", None, ""),  # it was not judged to be better
        (-2.0, -1.0, "lower", False, ""),  # the two disagree
        (-2.0, -1.0, "none", True, ""),
        (None, -1.0, "lower", True, ""),
    ],
)
def test_only_an_interval_without_zero_is_a_verdict(
    low: float | None, high: float, direction: Any, better: bool | None, expected: str
) -> None:
    assert verdict(Difference(-1.5, low, high, 8, better), direction) == expected


def test_a_base_that_runs_share_is_one_row_and_tuned_systems_have_their_own() -> None:
    table = metric_table([_run("a", 5.0), _run("b", 5.0), _run("c", 4.0)], may_mark=True)
    assert [(row.system, row.runs) for row in table.rows] == [
        ("base", ""),
        ("tuned", "a"),
        ("tuned", "b"),
        ("tuned", "c"),
    ]
    assert table.rows[0].rtf == "0.240 to 0.250"


def test_a_base_that_only_some_share_names_them() -> None:
    other = _run("c")
    systems = {**other.evaluation.systems, "base": System({"mcd": Metric(9.0)})}
    other = dataclasses.replace(other, evaluation=dataclasses.replace(other.evaluation, systems=systems))
    rows = metric_table([_run("a"), _run("b"), other], may_mark=True).rows
    assert [row.runs for row in rows if row.system == "base"] == ["a, b", "c"]


def test_bases_of_other_weights_are_not_one_even_if_their_figures_are() -> None:
    rows = metric_table([_run("a", base_fingerprint="1"), _run("b", base_fingerprint="2")], may_mark=True).rows
    assert [row.runs for row in rows if row.system == "base"] == ["a", "b"]


def test_what_is_missing_is_named_and_never_a_number() -> None:
    table = metric_table([_run("a")], may_mark=True)
    assert [column.name for column in table.columns] == ["mcd", "utmos"]
    cell = table.rows[0].cells[1]
    assert (cell.mean, cell.why_missing) == ("n/a", "no weights")
    assert table.count_names == ("runaway", "silent", "truncated")
    assert [row.counts for row in table.rows] == [("n/a", "0", "n/a"), ("1", "n/a", "n/a")]
    assert table.rows[1].rtf == "n/a"


def test_nothing_is_marked_where_runs_cannot_be_compared() -> None:
    runs = [_run("a", 5.0, Difference(-2.0, -3.0, -1.0, 8, True)), _run("b")]
    marks = [
        [cell.mark for row in metric_table(runs, may_mark).rows for cell in row.cells if cell.mark]
        for may_mark in (True, False)
    ]
    assert marks == [["better"], []]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, None),
        ({"data_fingerprint": "x"}, "same data (data_fingerprint): a: d; b: x."),
        ({"validation_fingerprint": "x"}, "same split (validation_fingerprint): a: v; b: x."),
        ({"data_fingerprint": None}, "same data (data_fingerprint): a: d; b: unknown."),
    ],
)
def test_runs_of_other_data_or_splits_are_said(record: dict[str, Any], said: str | None) -> None:
    sentences = why_not_comparable([_run("a"), _run("b", **record)])
    assert len(sentences) == (said is not None)
    assert said is None or sentences[0].endswith(said)


def test_one_run_needs_no_fingerprint_to_be_compared_with_its_base() -> None:
    assert not why_not_comparable([_run("a", data_fingerprint=None)])


def test_runs_that_were_evaluated_in_other_ways_are_said() -> None:
    one, other = _run("a"), _run("b")
    assert protocols_differ([one, other], str) is None
    protocol = {"num_seeds": 3, "model": "another"}
    other = dataclasses.replace(other, evaluation=dataclasses.replace(other.evaluation, protocol=protocol))
    assert str(protocols_differ([one, other], str)).endswith("(num_seeds: a: 1; b: 3).")


def test_facts_that_were_not_recorded_are_not_available() -> None:
    rows = dict(fact_rows([_run("a", num_trained_parameters=409_665, num_parameters=2_683_586)], Scrubber([])))
    assert rows["trained parameters"] == ["410k of 2.68M (15.3%)"]
    assert rows["export"] == rows["peak memory"] == rows["step time"] == rows["strategy"] == ["n/a"]


def test_what_was_forgotten_is_shown_for_each_run_that_spoke_in_other_voices() -> None:
    forgetful = _run("a", 9.0, Difference(2.0, 1.5, 2.5, 8, False))
    systems = {"reference": System({"mcd": Metric(0.0)}), **forgetful.evaluation.systems}
    evaluated = dataclasses.replace(forgetful.evaluation, base_voices=systems)
    runs = [dataclasses.replace(forgetful, evaluation=evaluated), _run("b")]
    table = forgetting_table(runs, may_mark=True)
    assert [(row.run, row.system, row.cells[0].mark) for row in table.rows] == [
        ("a", "base", ""),
        ("a", "tuned", "worse"),
    ]
    assert [column.name for column in table.columns] == ["mcd"]
    assert all(not row.cells[0].mark for row in forgetting_table(runs, may_mark=False).rows)
    assert forgetting_table([_run("b")], may_mark=True).rows == ()
