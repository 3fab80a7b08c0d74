"""The one table of a result: what stands in it, in which order, and that it fits a narrow terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from calm_ft.report.result import BaseVoicesResult, EvaluationResult, ExcludedClip
from calm_ft.report.terminal import print_result
from tests.report.made_result import change, result, system

RESIDUALS = {"validation residual": {"base": 1.376, "tuned": 1.083}}


def printed(shown: EvaluationResult, width: int = 140, **more: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_result(console, shown, **more)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_of(text: str, words: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(words)]
    return line


def test_a_change_is_called_better_or_worse_where_its_interval_excludes_zero() -> None:
    text = printed(result())
    assert line_of(text, "words wrong").endswith("-12.0 points better")
    assert line_of(text, "distance to the recording").rstrip().endswith("+1.00 worse")
    voice = line_of(text, "sounds like the voice")
    assert "better" not in voice
    assert "worse" not in voice


@pytest.mark.parametrize("where", ["result", "difference"])
def test_a_figure_that_may_not_judge_has_no_verdict_and_its_reason_stands_below(where: str) -> None:
    reason = "the recogniser errs on the recordings themselves."
    shown = result(doubts={"wer": reason})
    if where == "difference":
        shown = result(against_base={"tuned": {"wer": change(-0.12, 0.05, None, doubt=reason)}})
    text = printed(shown)
    assert line_of(text, "words wrong").rstrip().endswith("no verdict")
    assert f"no verdict on words wrong: {reason}" in text


def test_main_figures_come_first_and_each_has_its_name_in_settings() -> None:
    systems = {"base": system({"end_level_db": -30.0, "cer": 0.1, "wer": 0.2, "mcd_db": 7.0})}
    text = printed(result(systems=systems, against_base={}))
    places = [text.index(each) for each in ("cer (lower", "mcd_db (dB", "wer (lower", "end_level_db (dB)")]
    assert places == sorted(places)


def test_an_undoubted_figure_answers_first() -> None:
    systems = {"base": system({"cer": 0.1, "wer": 0.2, "mcd_db": 7.0})}
    text = printed(result(systems=systems, against_base={}, doubts={"cer": "why"}))
    assert text.index("words wrong") < text.index("distance to") < text.index("characters wrong")


def test_warnings_come_last_and_counts_of_faults_are_shown() -> None:
    systems = {"base": system({"wer": 0.3}), "tuned": system({"wer": 0.2}, runaway=3)}
    warning = "3 of 8 clips do not end."
    excluded = [ExcludedClip(path=f"{number}.wav", reason="no text") for number in range(12)]
    shown = result(systems=systems, warnings=[warning], notes=["the codec."], excluded=excluded, missing={"cer": "no."})
    text = printed(shown)
    assert text.rstrip().splitlines()[-1] == f"WARNING: {warning}"
    assert line_of(text, "did not end (runaway)").split()[-3:] == ["3", "of", "8"]
    assert all(each in text for each in ("note: the codec.", "not measured: characters wrong: no.", "9.wav: no text"))
    assert "10.wav" not in text
    assert "left out: 2 more" in text


def test_other_voices_and_residuals_stand_in_the_same_table() -> None:
    voices = BaseVoicesResult(
        names=["alicia", "f2"],
        num_clips=8,
        systems={"base": system({"wer": 0.1, "duration_ratio": 1.0}), "tuned": system({"wer": 0.4})},
        against_base={"tuned": {"wer": change(0.3, 0.1, better=False)}},
    )
    text = printed(result(base_voices=voices), residuals=RESIDUALS)
    own, _, others = text.partition("In other voices")
    assert "better" in line_of(own, "words wrong")
    assert "worse" in line_of(others, "words wrong")
    assert "length beside" not in others  # it has no good side, so nothing can be forgotten
    assert line_of(text, "validation residual").split()[-2:] == ["1.38", "1.08"]


def test_a_run_without_sentences_has_its_residuals() -> None:
    text = printed(result(systems={}, against_base={}), residuals=RESIDUALS)
    assert "1.38" in text
    assert "Nobody listened" not in text


@pytest.mark.parametrize("width", [80, 100, 120, 130, 140, 200])
def test_nothing_is_cut_at_any_width(width: int) -> None:
    systems = {name: result().systems.get(name, result().systems["base"]) for name in ("reference", "codec", "base")}
    shown = result(systems=systems | {"tuned": result().systems["tuned"]}, warnings=["it [never] ends " * 9])
    text = printed(shown, width=width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert "-12.0 points" in words
    assert "-17.0 to -7.0" in words
    assert words.count("better ") - words.count("is better ") >= 1
    assert "[never]" in words
    assert "…" not in text
    assert "speaker_similarity_res" in text


def test_several_seeds_show_their_spread() -> None:
    spread = {"std": 0.012, "low": 0.15, "high": 0.21, "num_seeds": 3}
    shown = result().model_dump(mode="json")
    shown["systems"]["tuned"]["metrics"]["wer"]["seeds"] = spread
    text = printed(EvaluationResult.model_validate(shown), width=160)
    assert "seeds: sd 1.2%" in text
    assert "15.0 to 21.0" in text
