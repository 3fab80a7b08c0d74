"""Distortion and pitch against a recording: oracles with known answers."""

import numpy as np
import pytest

from calm_ft.metrics.base import Clip, NotMeasured
from calm_ft.metrics.distortion import Distortion, Pitch
from tests.metrics.signals import RATE_HZ, clip, voiced


def test_a_recording_against_itself_has_no_distortion_no_pitch_error_and_its_own_duration() -> None:
    assert Distortion().measure(clip()) == {"mcd_db": 0.0, "duration_ratio": 1.0}
    assert Pitch().measure(clip()) == {"log_f0_rmse": 0.0, "voicing_error": 0.0}


@pytest.mark.parametrize("semitones", [-4, 3, 7])
def test_a_known_pitch_shift_is_its_size_in_cents(semitones: int) -> None:
    shifted = Clip(voiced(120 * 2 ** (semitones / 12)), RATE_HZ, "a", voiced(120))
    assert Pitch().measure(shifted)["log_f0_rmse"] == pytest.approx(100 * abs(semitones), abs=10)


def test_noise_in_the_place_of_a_voice_is_a_voicing_error_without_a_pitch_error() -> None:
    whispered = Clip(0.1 * np.random.default_rng(0).standard_normal(RATE_HZ), RATE_HZ, "a", voiced(120))
    measured = Pitch().measure(whispered)
    assert isinstance(measured["log_f0_rmse"], NotMeasured)
    assert float(measured["voicing_error"]) > 0.8  # type: ignore[arg-type]


def test_twice_as_long_is_a_duration_ratio_of_two() -> None:
    measured = Distortion().measure(Clip(voiced(120, 2.0), RATE_HZ, "a", voiced(120, 1.0)))
    assert measured["duration_ratio"] == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("metric", [Distortion(), Pitch()])
@pytest.mark.parametrize(
    ("audio", "reference", "reason"),
    [
        (np.zeros(0), voiced(120), "no samples"),
        (np.zeros(RATE_HZ), voiced(120), "the clip is silent"),
        (voiced(120), None, "no recording"),
        (voiced(120), np.zeros(RATE_HZ), "recording to compare with is silent"),
    ],
)
def test_what_cannot_be_compared_has_no_number_but_a_reason(
    metric: Distortion | Pitch, audio: np.ndarray, reference: np.ndarray | None, reason: str
) -> None:
    measured = metric.measure(Clip(audio, RATE_HZ, "a", reference))
    assert len(measured) == 2
    assert all(isinstance(each, NotMeasured) and reason in each.reason for each in measured.values())
