"""The one number that a sweep asks of a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from calm_ft.errors import UserError
from calm_ft.metrics.registry import FIGURES
from calm_ft.sweeps.value import check_value_is_measured, check_value_name, optuna_direction, value_of

RECORD: dict[str, Any] = {
    "value": 0.6,
    "residuals": {"base_voices": {"names": ["f2"], "base": {"residual": 0.7}, "tuned": {"residual": 0.8, "lsd": 0.1}}},
    "evaluation": {
        "systems": {
            "base": {"metrics": {"mcd_db": {"mean": 8.5}}, "counts": {"utterances": 8, "runaway": 0}},
            "tuned": {
                "metrics": {"mcd_db": {"mean": 7.5, "low": None}, "wer": {"mean": None}, "cer": {"mean": 0.1}},
                "counts": {"utterances": 8, "runaway": 2, "silent": 0},
            },
        }
    },
}
EARLIER: dict[str, Any] = {
    "value": 0.6,
    "figures": {
        "scores": {"tuned, tuned voice": {"mcd_db": {"mean": 7.5, "standard_error": None}, "voice_id": 0.4}},
        "base_voices": {"residual": {"base": 0.7, "tuned": 0.8}},
        "evaluation": {"tuned": {"cer": 0.1}},
    },
}


def run_of(folder: Path, record: dict[str, Any]) -> Path:
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("record", [RECORD, EARLIER], ids=["now", "earlier"])
@pytest.mark.parametrize(
    ("name", "value"), [("residual", 0.6), ("mcd_db", 7.5), ("base_voices_residual", 0.8), ("cer", 0.1)]
)
def test_figures_are_found_in_runs_of_any_version(
    record: dict[str, Any], name: str, value: float, tmp_path: Path
) -> None:
    assert value_of(run_of(tmp_path, record), name) == value


def test_counts_are_shares_of_the_tuned_models_clips(tmp_path: Path) -> None:
    run = run_of(tmp_path, RECORD)
    assert [value_of(run, name) for name in ("runaway", "silent")] == [0.25, 0.0]


def test_the_value_is_that_of_the_final_evaluation_whatever_was_scored_while_training(tmp_path: Path) -> None:
    both = {**RECORD, "figures": {"evaluation": {"tuned": {"mcd_db": 1.0}}}}
    assert value_of(run_of(tmp_path, both), "mcd_db") == 7.5


def test_figures_of_earlier_runs_are_found_by_their_names_of_today(tmp_path: Path) -> None:
    assert value_of(run_of(tmp_path, EARLIER), "voice_identified") == 0.4


@pytest.mark.parametrize("name", ["voice_identified", "wer"])
def test_what_was_not_measured_is_no_number(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no figure {name}"):
        value_of(run_of(tmp_path, RECORD), name)


def test_an_unknown_name_is_said_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"sweep_value=mdc is no figure of a run.*mcd_db"):
        check_value_name("mdc")
    with pytest.raises(UserError, match="duration_ratio is no figure"):  # there is one, but no direction to search in
        check_value_name("duration_ratio")


def test_what_the_runs_will_not_measure_is_refused_before_they_train() -> None:
    with pytest.raises(UserError, match=r"evaluation\.num_sentences=0"):
        check_value_is_measured("mcd_db", num_sentences=0, opinion_scores=True)
    with pytest.raises(UserError, match=r"evaluation\.opinion_scores=true"):
        check_value_is_measured("utmos", num_sentences=8, opinion_scores=False)
    for name in ("residual", "base_voices_residual"):
        check_value_is_measured(name, num_sentences=0, opinion_scores=False)


def test_optuna_searches_in_the_direction_of_the_registry() -> None:
    wanted = {"lower": "minimize", "higher": "maximize"}
    directed = {name: wanted[each.direction] for name, each in FIGURES.items() if each.direction in wanted}
    assert {name: optuna_direction(name) for name in directed} == directed
    assert {directed[name] for name in ("residual", "wer", "voice_identified")} == {"minimize", "maximize"}
