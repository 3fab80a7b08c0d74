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
        ("num_sentences", -1, "must be an integer of at least 0"),
        ("num_sentences", "8", "must be an integer"),
        ("num_seeds", 0, "must be an integer of at least 1"),
        ("every_n_steps", -1, "must be an integer of at least 1 or null"),
        ("every_n_steps", 2.5, "must be an integer"),
        ("every_n_steps", True, "must be an integer"),
        ("max_time_share", 0, "must be a number above 0"),
        ("max_time_share", 1.5, "at most 1"),
        ("asr", "", "must be a recogniser: auto, embedded, none, one of the hub"),
        ("asr", "faster-whisper:", "must be a recogniser"),
        ("heldout_path", 3, "must be a text or null"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_full_key(key: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as refused:
        EvaluationSettings(**{key: value})
    sentence = str(refused.value)
    assert sentence.startswith(f"evaluation.{key}={str(value).lower()} ")
    assert said in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_setting_that_there_is_not_is_named() -> None:
    unknown: dict[str, Any] = {"num_sentence": 3}
    with pytest.raises(UserError, match=r"^There is no setting evaluation\.num_sentence; .* num_sentences, "):
        EvaluationSettings(**unknown)
