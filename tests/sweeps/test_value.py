"""The one number that a sweep asks of a run."""

import json
from pathlib import Path

import pytest

from calm_ft.errors import UserError
from calm_ft.metrics.distortion import ALIGNED_FIGURES, PITCH_FIGURES
from calm_ft.metrics.identification import SENTENCE_FIGURE
from calm_ft.metrics.naturalness import DNSMOS_FIGURES, UTMOS_FIGURE
from calm_ft.metrics.sound import SOUND_FIGURES
from calm_ft.metrics.speaker import RESEMBLYZER_FIGURE, WAVLM_FIGURE
from calm_ft.metrics.words import WORD_FIGURES
from calm_ft.sweeps.value import DIRECTIONS, check_value_name, optuna_direction, value_of

RECORD = {
    "value": 0.6,
    "figures": {
        "scores": {"tuned, tuned voice": {"mcd_db": {"mean": 7.5, "standard_error": None}, "voice_id": None}},
        "base_voices": {"residual": {"base": 0.7, "tuned": 0.8}},
    },
}


def _run(folder: Path, **evaluated: float | None) -> Path:
    figures = {**RECORD["figures"], "evaluation": {"tuned": evaluated}}  # type: ignore[dict-item]
    (folder / "run.json").write_text(json.dumps({**RECORD, "figures": figures}))
    return folder


@pytest.mark.parametrize(
    ("name", "value"), [("residual", 0.6), ("mcd_db", 7.5), ("base_voices_residual", 0.8), ("cer", 0.1)]
)
def test_figures_are_found_wherever_a_run_keeps_them(name: str, value: float, tmp_path: Path) -> None:
    assert value_of(_run(tmp_path, cer=0.1), name) == value


def test_the_evaluations_figure_goes_before_the_judgements(tmp_path: Path) -> None:
    assert value_of(_run(tmp_path, mcd_db=6.5), "mcd_db") == 6.5


@pytest.mark.parametrize("name", ["voice_id", "wer"])
def test_what_was_not_measured_is_no_number(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no figure {name}"):
        value_of(_run(tmp_path, wer=None), name)


def test_an_unknown_name_is_said_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"sweep_value=mdc is no figure of a run.*mcd_db"):
        check_value_name("mdc")


def test_all_figures_that_can_be_better_have_the_direction_of_their_metric() -> None:
    figures = (
        *ALIGNED_FIGURES,
        *PITCH_FIGURES,
        *DNSMOS_FIGURES,
        *SOUND_FIGURES,
        *WORD_FIGURES,
        *(UTMOS_FIGURE, SENTENCE_FIGURE, RESEMBLYZER_FIGURE, WAVLM_FIGURE),
    )
    directed = {figure.name: figure.direction for figure in figures if figure.direction != "none"}
    assert {name: DIRECTIONS.get(name) for name in directed} == directed
    assert [optuna_direction(name) for name in ("residual", "sentence_id")] == ["minimize", "maximize"]
