"""What the tables say, above all when a change is better or worse; runs against a run; means over seeds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calm_ft.metrics.bootstrap import is_better, paired_interval
from calm_ft.report.page.across_runs import (
    against,
    evaluations_differ,
    seed_table,
    why_not_comparable,
    why_not_paired,
)
from calm_ft.report.page.compare import MAX_RUNS_HEARD, runs_heard
from calm_ft.report.page.scrub import Scrubber
from calm_ft.report.page.settings import fact_rows, legend
from calm_ft.report.page.tables import Cell, Figures, base_voices, figures, style
from calm_ft.report.result import BaseVoicesResult, Difference, EvaluationResult, UtteranceRow
from calm_ft.report.runs import Run
from tests.report.made_result import change, figure, result, system

OTHER = (0.30, 0.50, 0.20, 0.40, 0.60, 0.35, 0.45, 0.25)
BETTER = tuple(value - step for value, step in zip(OTHER, (0.1, 0.2, 0.1, 0.15, 0.12, 0.18, 0.1, 0.11), strict=True))
MIXED = tuple(value + step for value, step in zip(OTHER, (0.2, -0.3, 0.1, -0.1, 0.3, -0.4, 0.1, -0.1), strict=True))
SCRUB = Scrubber([])


def _run(letter: str, made: EvaluationResult | None = None, config: Any = None, **record: Any) -> Run:
    facts = {"data_fingerprint": "d", "validation_fingerprint": "v", "base_fingerprint": "b"} | record
    name = f"run-{letter.lower()}"
    return Run(letter, name, Path("/nowhere") / name, facts, config or {}, {}, result() if made is None else made)


def _spoken(letter: str, wer: Sequence[float], texts: str = "abcdefgh", **protocol: Any) -> Run:
    rows = tuple(
        UtteranceRow(system="tuned", index=index, seed=0, text=text, audio="none.wav", metrics={"wer": value}, flags={})
        for index, (text, value) in enumerate(zip(texts, wer, strict=True))
    )
    made = result(
        systems={"tuned": system({"wer": sum(wer) / len(wer)})},
        against_base={"tuned": {"wer": change(-9.0, 0.5, better=True)}},
        protocol={"num_seeds": 1, "asr": "embedded", **protocol},
    )
    return replace(_run(letter, made), utterances=rows)


def _cell(shown: Figures, name: str, column: int = -1) -> Cell:
    (row,) = [row for row in shown.rows if row.name == name]
    return row.cells[column]


@pytest.mark.parametrize(
    ("name", "difference", "expected"),
    [
        ("wer", change(-0.2, 0.1, better=True), "better"),
        ("wer", change(0.2, 0.1, better=False), "worse"),
        ("speaker_similarity_resemblyzer", change(0.2, 0.1, better=True), "better"),
        ("speaker_similarity_resemblyzer", change(-0.2, 0.1, better=False), "worse"),
        ("wer", change(-0.2, 0.3, better=False), ""),
        ("wer", change(-0.2, 0.1, better=None, n=5), ""),  # it was not judged: too few pairs
        ("wer", change(-0.2, 0.1, better=None, doubt="why"), ""),
        ("wer", Difference(mean=-0.2, low=None, high=None, n=1), ""),
        ("rtf", change(-0.2, 0.1, better=True), ""),  # the machine's load, not the weights
    ],
)
def test_only_what_was_judged_is_a_verdict(name: str, difference: Difference, expected: str) -> None:
    systems = {"base": system({name: 0.5}), "tuned": system({name: 0.3})}
    made = result(systems=systems, against_base={"tuned": {name: difference}})
    assert _cell(figures([_run("A", made)], may_judge=True), name).verdict == expected
    assert _cell(figures([_run("A", made)], may_judge=False), name).verdict == ""


def test_a_figure_that_may_not_judge_shows_its_reason_and_no_verdict() -> None:
    doubted = result(doubts={"wer": "it errs on the recordings themselves."})
    shown = figures([_run("A", doubted), _run("B")], may_judge=True)
    (card,) = [card for card in shown.cards if card.row.name == "wer"]
    assert card.doubt == "it errs on the recordings themselves."
    assert [(column.letter, cell.verdict) for column, cell in card.lines][-2:] == [("A", ""), ("B", "better")]


def test_a_base_that_runs_share_is_one_column_and_tuned_systems_have_their_own() -> None:
    systems = dict(result().systems)
    systems["base"] = systems["base"].model_copy(update={"rtf": 0.5})  # its time differs, nothing else
    shown = figures([_run("A"), _run("B", result(systems=systems)), _run("C")], may_judge=True)
    assert [(column.name, column.letter) for column in shown.columns] == [
        ("recordings", ""),
        ("base", ""),
        ("", "A"),
        ("", "B"),
        ("", "C"),
    ]


def test_bases_that_differ_in_figures_or_weights_name_their_runs() -> None:
    other = result(systems={**result().systems, "base": system({"wer": 0.9})})
    for runs in (
        [_run("A"), _run("B"), _run("C", other)],
        [_run("A"), _run("B"), _run("C", base_fingerprint="another")],
    ):
        columns = figures(runs, may_judge=True).columns
        assert [column.name for column in columns if column.system == "base"] == ["base of A, B", "base of C"]


def test_what_is_missing_is_named_and_never_a_number() -> None:
    shown = figures([_run("A", result(missing={"utmos": "no weights"}))], may_judge=True)
    assert (_cell(shown, "utmos").value, _cell(shown, "utmos").missing) == ("n/a", "no weights")
    assert dict(shown.flags)["runaway"] == ("0 of 8",) * 3


def test_main_figures_are_five_at_most_and_drawn() -> None:
    systems = {name: system({"wer": 0.2, "cer": 0.1, "mcd_db": mcd}) for name, mcd in (("reference", 0.0), ("base", 7))}
    systems["reference"].metrics["mcd_db"] = figure("mcd_db", 0.0, half=0.0)
    cards = figures([_run("A", result(systems=systems, against_base={}))], may_judge=True).cards
    assert [card.row.name for card in cards] == ["cer", "mcd_db"]
    assert [column.system for column, _ in cards[0].lines] == ["reference", "base"]
    assert [column.system for column, _ in cards[1].lines] == ["base"]  # recordings are at no distance from themselves
    assert all(card.drawing.startswith("<svg") for card in cards)


def test_rates_are_percent_and_their_changes_points() -> None:
    cell = _cell(figures([_run("A")], may_judge=True), "wer")
    assert (cell.value, cell.change, cell.change_interval) == ("18.0%", "-12.0 points", "-17.0 to -7.0")


def test_what_was_forgotten_is_shown_for_each_run_that_spoke_in_other_voices() -> None:
    voices = BaseVoicesResult(
        names=["f2"],
        systems={"reference": system({"wer": 0.0}), "base": system({"wer": 0.2, "duration_ratio": 1.0}),
                 "tuned": system({"wer": 0.6})},
        against_base={"tuned": {"wer": change(0.4, 0.1, better=False)}},
    )  # fmt: skip
    runs = [_run("A", result(base_voices=voices)), _run("B")]
    shown = base_voices(runs, may_judge=True)
    assert [column.system for column in shown.columns] == ["base", "tuned"]
    assert [row.name for row in shown.rows] == ["wer"]
    assert _cell(shown, "wer").verdict == "worse"
    assert _cell(base_voices(runs, may_judge=False), "wer").verdict == ""
    assert base_voices([_run("B")], may_judge=True).cards == ()


def test_colours_begin_anew_after_eight_runs() -> None:
    assert [style(letter) for letter in ("A", "H", "I", "AA")] == ["s0", "s7", "s0", "s2"]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, None),
        ({"data_fingerprint": "x"}, "same data: A: d; B: x."),
        ({"validation_fingerprint": "x"}, "same split into training and validation: A: v; B: x."),
        ({"data_fingerprint": None}, "same data: A: d; B: unknown."),
    ],
)
def test_runs_of_other_data_or_splits_are_said(record: dict[str, Any], said: str | None) -> None:
    sentences = why_not_comparable([_run("A"), _run("B", **record)])
    assert len(sentences) == (said is not None)
    assert said is None or sentences[0].endswith(said)
    assert not why_not_comparable([_run("A", **record)])  # one run is compared with its base alone


def test_rules_by_which_evaluations_differ_are_lines_of_a_list() -> None:
    one, other = (
        _run(letter, result(protocol={"num_seeds": n, "model": letter})) for letter, n in (("A", 1), ("B", 3))
    )
    assert evaluations_differ([one, one], SCRUB) == []
    assert evaluations_differ([one, other], SCRUB) == ["Evaluated with another number of seeds: A: 1; B: 3."]


def test_an_evaluation_with_int8_weights_is_named_and_gives_no_pairs_with_another() -> None:
    one, other = (
        _run("A", result(protocol={"num_seeds": 1})),
        _run("B", result(protocol={"num_seeds": 1, "weights": "int8"})),
    )
    assert evaluations_differ([one, other], SCRUB) == [
        "Evaluated with another type of weights: A: as trained; B: int8."
    ]
    assert why_not_paired(one, other) == "evaluated in another way: weights"
    assert why_not_paired(other, other) == ""


def test_facts_that_were_not_recorded_are_not_available() -> None:
    rows = dict(fact_rows([_run("A", num_trained_parameters=409_665, num_parameters=2_683_586)], SCRUB))
    assert rows["trained parameters"] == ["410k of 2.68M (15.3%)"]
    assert rows["size of the export"] == rows["peak memory"] == rows["step time"] == rows["strategy"] == ["n/a"]


def test_the_legend_has_what_was_typed_first_and_no_python() -> None:
    def config(lr: float, strategy: str, layers: int | None) -> dict[str, Any]:
        return {
            "experiment_name": strategy.lower(),
            "output_dir": strategy,
            "seed": 0,
            "strategy": {"_target_": f"calm_ft.finetuning.strategy.{strategy}", "num_layers": layers},
            "optimizer": {"lr": lr},
            "objective": {"weight": lr},
            "adapter": {"objective": {"weight": lr}},
        }

    one = _run(
        "A", config=config(0.0008609071, "Full", None), overrides=["experiment=full", "++optimizer.lr=8.609071e-4"]
    )
    other = _run("B", config=config(1e-4, "LastNLayers", 2), overrides=["experiment=last_n_layers"])
    found = legend([one, other], SCRUB)
    assert found.shown == ("experiment_name", "strategy", "optimizer.lr")
    assert found.folded == ("strategy.num_layers", "objective.weight")  # said once, not under adapter.objective too
    assert found.values["A"] == {"experiment_name": "full", "strategy": "Full", "strategy.num_layers": "none",
                                 "optimizer.lr": "0.0008609", "objective.weight": "0.0008609"}  # fmt: skip
    assert legend([one], SCRUB).shown == ()


@pytest.mark.parametrize(("wer", "mark"), [(BETTER, "better"), (MIXED, ""), ([2 * each for each in OTHER], "worse")])
def test_a_run_is_judged_against_another_by_the_interval_of_their_pairs(wer: Sequence[float], mark: str) -> None:
    other, run = _spoken("A", OTHER), _spoken("B", wer)
    itself, compared = against([other, run], other)
    assert itself.result.against_base == {}
    found = compared.result.against_base["tuned"]["wer"]
    interval = paired_interval(*({(i, 0): value for i, value in enumerate(each)} for each in (wer, OTHER)))
    assert (found.mean, found.low, found.high) == (interval.mean, interval.low, interval.high)
    assert found.better is is_better(interval, "lower")
    assert _cell(figures([itself, compared], may_judge=True), "wer").verdict == mark


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (_spoken("B", BETTER, texts="abcdefgx"), "other sentences"),
        (_spoken("B", BETTER, num_seeds=3), "evaluated in another way: num_seeds"),
        (_spoken("B", BETTER, asr="another"), "evaluated in another way: asr"),
        (replace(_spoken("B", BETTER), was_evaluated=False), "not evaluated"),
        (_spoken("B", BETTER, model="of another strategy", voice="run/prompt.wav", seed=1), ""),
    ],
)
def test_runs_that_did_not_speak_the_same_are_not_comparable(run: Run, why: str) -> None:
    other = _spoken("A", OTHER)
    assert why_not_paired(run, other) == why
    _, compared = against([other, run], other)
    assert (compared.result.against_base == {}) == bool(why)


def test_a_figure_that_one_of_two_runs_may_not_be_judged_by_has_no_verdict() -> None:
    other, run = _spoken("A", OTHER), _spoken("B", BETTER)
    other = replace(other, result=other.result.model_copy(update={"doubts": {"wer": "it errs."}}))
    _, compared = against([other, run], other)
    assert _cell(figures([other, compared], may_judge=True), "wer").verdict == ""


def _seeded(letter: str, seed: int, lr: float, mcd: float | None) -> Run:
    made = result(systems={"tuned": system({"mcd_db": mcd})}, against_base={})
    return _run(letter, made, {"seed": seed, "output_dir": letter, "optimizer": {"lr": lr}})


def test_means_and_ranges_over_seeds_are_those_of_the_runs() -> None:
    runs = [_seeded("A", 0, 0.1, 7.0), _seeded("B", 0, 0.2, 6.0), _seeded("C", 1, 0.1, 8.0), _seeded("D", 2, 0.1, None)]
    table = seed_table(runs)
    assert table is not None
    assert [(row.runs, row.seeds) for row in table.rows] == [(("A", "C", "D"), "0, 1, 2"), (("B",), "0")]
    assert [row.cells for row in table.rows] == [(("7.50", "7.00 to 8.00, 2 seeds"),), (("6.00", "1 seed"),)]
    assert seed_table(runs[:2]) is None  # of one seed each


def test_many_runs_are_heard_one_of_each_setting_first() -> None:
    names = [(lr, seed) for lr in range(5) for seed in range(3)]
    runs = [_seeded(chr(ord("A") + number), seed, lr, 7.0) for number, (lr, seed) in enumerate(names)]
    heard = [run.letter for run in runs_heard(runs)]
    assert len(heard) == MAX_RUNS_HEARD
    assert {"A", "D", "G", "J", "M"} <= set(heard)
