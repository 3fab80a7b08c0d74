"""Settings of the evaluation: one word for never, and wrong values by their full key."""

from typing import Any

import pytest

from calm_ft.errors import UserError
from calm_ft.evaluation.settings import EvaluationSettings


@pytest.mark.parametrize("never", [0, None])
def test_zero_and_null_both_mean_never(never: int | None) -> None:
    settings = EvaluationSettings(every_n_steps=never)
    assert settings.every_n_steps is None
    assert not settings.speaks_while_training


def test_nothing_is_said_while_training_without_sentences() -> None:
    assert EvaluationSettings(every_n_steps=5).speaks_while_training
    assert not EvaluationSettings(every_n_steps=5, num_sentences=0).speaks_while_training


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("num_sentences", -1, "should be greater than or equal to 0"),
        ("num_sentences", "8", "should be a valid integer"),
        ("num_seeds", 0, "should be greater than or equal to 1"),
        ("every_n_steps", -1, "should be greater than or equal to 1"),
        ("every_n_steps", 2.5, "should be a valid integer"),
        ("every_n_steps", False, "should be a valid integer"),
        ("max_time_share", 0, "should be greater than 0"),
        ("max_time_share", 1.5, "should be less than or equal to 1"),
        ("asr", "", "names no speech recogniser: give auto, embedded, none, one of the hub"),
        ("asr", "faster-whisper:", "names no speech recogniser"),
        ("heldout_path", 3, "should be a valid string"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_full_key(key: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as refused:
        EvaluationSettings(**{key: value})
    sentence = str(refused.value)
    assert sentence.startswith(f"evaluation.{key}={value} ")
    assert said in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_setting_that_there_is_not_is_named() -> None:
    unknown: dict[str, Any] = {"num_sentence": 3}
    with pytest.raises(UserError, match=r"^There is no setting evaluation\.num_sentence\.$"):
        EvaluationSettings(**unknown)
