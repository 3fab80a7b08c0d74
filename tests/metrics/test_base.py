"""What every metric does before and after it measures."""

import math
from typing import Self

import numpy as np
import pytest

from calm_ft.metrics.base import Figure, Given, Measurement, Metric, NotMeasured, SpeechClip
from tests.metrics.conftest import RATE_HZ, voiced


class Says(Metric):
    """A metric that gives a known number and counts how often it is asked."""

    figures = (Figure("said", "1", "lower", "what it says"),)
    identity = "says-1"

    def __init__(self, value: float, needs_reference: bool = False, needs_speech: bool = True) -> None:
        self.value, self.needs_reference, self.needs_speech = value, needs_reference, needs_speech
        self.times_asked = 0

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls(0.0)

    def _measure(self, clip: SpeechClip) -> Measurement:
        self.times_asked += 1
        return {"said": self.value}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_figure_is_ever_a_number_that_is_none(value: float) -> None:
    said = Says(value).measure(SpeechClip(voiced(120), RATE_HZ, "a"))["said"]
    assert said == NotMeasured("the measurement gave no finite number")
    assert Says(0.5).measure(SpeechClip(voiced(120), RATE_HZ, "a")) == {"said": 0.5}


@pytest.mark.parametrize(
    ("audio", "reference", "reason"),
    [
        (np.zeros(0), voiced(120), "the clip has no samples"),
        (voiced(120)[:2000], voiced(120), "the clip is shorter than 0.1 s"),
        (np.zeros(RATE_HZ), voiced(120), "the clip is silent"),
        (voiced(120), None, "there is no recording of this text to compare with"),
        (voiced(120), np.zeros(RATE_HZ), "the recording to compare with is silent"),
    ],
)
def test_a_clip_that_cannot_be_measured_is_not_and_the_reason_is_said(
    audio: np.ndarray, reference: np.ndarray | None, reason: str
) -> None:
    metric = Says(1.0, needs_reference=True)
    assert metric.measure(SpeechClip(audio, RATE_HZ, "a", reference)) == {"said": NotMeasured(reason)}
    assert metric.times_asked == 0


def test_silence_is_measured_where_it_has_a_value_and_a_recording_is_not_needed() -> None:
    assert Says(1.0, needs_speech=False).measure(SpeechClip(np.zeros(RATE_HZ), RATE_HZ, "a")) == {"said": 1.0}


@pytest.mark.parametrize(("direction", "mean", "reached"), [("lower", 0.1, True), ("lower", 0.3, False),
                                                            ("higher", 0.1, False), ("higher", 0.3, True)])  # fmt: skip
def test_a_limit_is_reached_on_the_good_side(direction: str, mean: float, reached: bool) -> None:
    figure = Figure("x", "1", direction, "x")  # type: ignore[arg-type]
    assert figure.reaches(mean, 0.2) is reached
    assert figure.reaches(0.2, 0.2)
