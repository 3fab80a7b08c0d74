"""The sentence that stands on top of a page for each run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calm_ft.report.page.verdict import together, verdict, warnings_of
from calm_ft.report.result import BaseVoicesResult, Difference
from calm_ft.report.runs import Run
from tests.report.made_result import change, result, system

GAIN = change(-0.2, 0.1, better=True)
LOSS = change(0.2, 0.1, better=False)
OPEN = change(-0.1, 0.2, better=False)
JUDGE = {"wer": "The judge errs."}
VOICE = "speaker_similarity_resemblyzer"


def _run(differences: dict[str, Difference], voices: dict[str, Difference] | None = None, **more: Any) -> Run:
    systems = {name: system(dict.fromkeys(differences, 0.5)) for name in ("base", "tuned")}
    if voices is not None:
        others = {name: system(dict.fromkeys(voices, 0.5)) for name in ("base", "tuned")}
        more["base_voices"] = BaseVoicesResult(names=["f2"], systems=others, against_base={"tuned": voices})
    made = result(systems=systems, against_base={"tuned": differences}, **more)
    return Run("C", "run", Path("run"), {}, {}, {}, made)


@pytest.mark.parametrize(
    ("run", "said", "tone"),
    [
        (_run({"wer": GAIN}), "reads better than the base.", "better"),
        (_run({"wer": LOSS}), "reads worse than the base.", "worse"),
        (
            _run({"wer": GAIN, VOICE: change(0.1, 0.05, better=True)}, voices={"wer": LOSS}),
            "reads better than the base and sounds more like the voice; "
            "it forgets other voices: in them it reads worse.",
            "mixed",
        ),
        (
            _run({"wer": GAIN, VOICE: change(-0.1, 0.05, better=False), "mcd_db": LOSS}),
            "reads better than the base, but sounds less like the voice and is further from the recordings.",
            "mixed",
        ),
        (
            _run({"wer": GAIN}, voices={"wer": GAIN}),
            "reads better than the base; in other voices it reads better.",
            "better",
        ),
        (_run({"wer": OPEN}), "differs from the base in none of the main figures beyond chance (8 sentences).", "open"),
        (
            _run({"wer": change(-0.2, 0.1, better=None, n=3)}),
            "was heard in too few sentences (3; it takes 6), so nothing can be said of it.",
            "open",
        ),
        (_run({"wer": GAIN}, doubts=JUDGE), "cannot be judged: The judge errs.", "open"),
        (
            _run({"wer": LOSS, "mcd_db": GAIN}, doubts=JUDGE),
            "is closer to the recordings than the base. No verdict on “words wrong”: The judge errs.",
            "better",
        ),
        (
            _run({"wer": change(-0.2, 0.1, None, doubt="The judge errs."), "mcd_db": LOSS}, doubts=JUDGE),
            "is further from the recordings than the base. No verdict on “words wrong”: The judge errs.",
            "worse",
        ),
        (_run({}), "has no figure that the base has too, so nothing can be said of it.", "open"),
    ],
)
def test_a_run_is_told_in_one_sentence(run: Run, said: str, tone: str) -> None:
    found = verdict(run, "the base", may_judge=True)
    assert (found.letters, found.text, found.tone) == (("C",), said, tone)


def test_what_is_said_of_several_runs_stands_once() -> None:
    runs = [_run({"wer": GAIN}), replace(_run({"wer": LOSS}), letter="D"), replace(_run({"wer": GAIN}), letter="E")]
    found = together(verdict(run, "the base", may_judge=True) for run in runs)
    assert [each.letters for each in found] == [("C", "E"), ("D",)]


def test_nothing_is_said_of_a_run_that_cannot_be_judged() -> None:
    run = _run({"wer": GAIN})
    assert "cannot be compared" in verdict(run, "the base", may_judge=False).text
    assert "was not evaluated" in verdict(replace(run, was_evaluated=False), "the base", may_judge=True).text
    assert verdict(run, "C", may_judge=True).text == "is what the other runs are compared with."
    assert verdict(run, "A", may_judge=True).text == "reads better than A."


def test_faults_are_said_of_runs_whose_evaluation_wrote_no_sentence_of_them() -> None:
    systems = {"base": system({"wer": 0.3}, runaway=4), "tuned": system({"wer": 0.2}, runaway=3, silent=1)}
    run = replace(_run({}), result=result(systems=systems))
    assert warnings_of(run) == ["3 of 8 clips did not end.", "1 of 8 clips were silent."]
    told = replace(run, result=result(systems=systems, warnings=["It runs away."]))
    assert warnings_of(told) == ["It runs away."]
    assert warnings_of(_run({"wer": GAIN})) == []
