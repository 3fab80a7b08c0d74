"""The registry of figures: one place for names, units, directions and labels."""

import ast
from collections import Counter
from pathlib import Path
from typing import Self

import numpy as np
import pytest

import calm_ft
from calm_ft.metrics import registry
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, ModelMissing, SpeechClip
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.metrics.registry import FIGURES, HEADLINES, METRICS, OPINIONS, available_metrics, for_voice
from calm_ft.report.result import FLAGS
from tests.metrics.conftest import given, recording, speak

DIRECTIONS = {"lower", "higher", "none"}
STATED = {"lower", "higher", "min", "max", "minimize", "maximize"}
PACKAGE = Path(calm_ft.__file__).parent


def test_every_figure_of_every_metric_is_listed_once_with_label_unit_and_direction() -> None:
    names = [figure.name for metric in METRICS for figure in metric.figures]
    assert max(Counter(names).values()) == 1
    assert set(names) < FIGURES.keys()
    assert set(FLAGS) < FIGURES.keys()
    for name, figure in FIGURES.items():
        assert name == figure.name
        assert figure.label
        assert figure.direction in DIRECTIONS
        assert figure.unit or figure.needs_model  # the residual alone has no unit
    assert max(Counter(figure.label for figure in FIGURES.values()).values()) == 1
    assert {name for names in HEADLINES for name in names} < FIGURES.keys()


def test_likeness_and_opinions_are_better_when_higher_and_errors_faults_and_times_when_lower() -> None:
    higher = {name for name, each in FIGURES.items() if each.unit in ("cosine", "MOS") or name.endswith("_identified")}
    none = {"duration_ratio", "silence_share", "trailing_silence_sec", "end_level_db"}
    expected = {name: "higher" if name in higher else "none" if name in none else "lower" for name in FIGURES}
    assert {name: each.direction for name, each in FIGURES.items()} == expected


def test_a_figure_that_may_fail_on_the_recordings_states_a_limit_that_they_can_reach() -> None:
    limits = {name: (each.trusted, each.trusted_by_codec) for name, each in FIGURES.items() if each.trusted is not None}
    assert {"wer", "cer", "speaker_similarity_wavlm", "voice_identified", "utmos", "dnsmos_overall"} <= limits.keys()
    assert FIGURES["sentence_identified"].trusted_by_codec is not None
    assert all(FIGURES[name].direction != "none" for name in limits)


def test_no_other_place_in_the_package_states_a_direction() -> None:
    """No statement outside of the metrics holds a figure's name and a direction."""
    stated = set()
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "metrics":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.Return | ast.Expr):
                literals = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                if literals & FIGURES.keys() and literals & STATED:
                    stated.add(path.relative_to(PACKAGE).as_posix())
    assert stated == set()


class Loudness(Metric):
    """The highest sample of a clip."""

    figures = (Figure("loudness", "1", "lower", "how loud"),)
    identity = "loudness-1"

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls()

    def _measure(self, clip: SpeechClip) -> Measurement:
        return {"loudness": float(np.abs(clip.audio).max())}


class Absent(Loudness):
    """A metric whose model cannot be had."""

    figures = (Figure("absent", "1", "lower", "not there"),)

    @classmethod
    def build(cls, given: Given) -> Self:
        raise ModelMissing("the model is on the moon.")


def test_a_metric_joins_by_its_name_in_the_list_and_one_without_its_model_by_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "METRICS", (Loudness, Absent))
    available = available_metrics(given())
    assert [figure.name for figure in available.figures] == ["loudness"]
    assert available.missing == {"absent": "the model is on the moon."}


def test_models_out_of_reach_are_named_with_the_reason_and_the_others_measure(
    no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_ft.metrics.naturalness.UTMOS_REPO", "nobody/nothing")
    available = available_metrics(given(prompt=recording()[1], recogniser="nobody/nothing"))
    assert {"wer", "cer", "utmos", "voice_identified"} <= available.missing.keys()
    assert all("out of reach" in available.missing[name] for name in ("wer", "cer", "utmos"))
    figures = {figure.name for figure in available.figures}
    assert {"mcd_db", "log_f0_rmse", "dnsmos_overall", "sentence_identified"} <= figures
    assert figures.isdisjoint(available.missing)
    assert figures | available.missing.keys() == {figure.name for metric in METRICS for figure in metric.figures}


def test_opinion_scores_are_neither_measured_nor_missed_where_they_were_not_asked_for(no_hub: None) -> None:
    available = available_metrics(given(), opinion_scores=False)
    assert {"utmos", "dnsmos_overall", "dnsmos_signal", "dnsmos_background"} == OPINIONS
    assert OPINIONS.isdisjoint({*available.missing, *(figure.name for figure in available.figures)})


def test_in_another_voice_words_and_that_voice_are_measured_and_opinions_and_the_list_of_sentences_are_not(
    no_hub: None,
) -> None:
    voices = {"tuned voice": [recording(index)[1] for index in range(3)], "f2": [speak("A few words.", "f2")] * 2}
    available = available_metrics(given(recording()[1], voices, EmbeddedASR()))
    in_f2 = {figure.name for metric in for_voice(available, "f2", voices["f2"][0], 16_000) for figure in metric.figures}
    assert {"wer", "cer", "speaker_similarity_resemblyzer", "voice_identified", "mcd_db"} <= in_f2
    assert in_f2.isdisjoint({*OPINIONS, "sentence_identified"})
    in_an_unknown_one = for_voice(available, "Bob", voices["f2"][0], 16_000)
    assert "voice_identified" not in {figure.name for metric in in_an_unknown_one for figure in metric.figures}
