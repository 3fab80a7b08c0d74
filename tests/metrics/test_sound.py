"""Silence, clipping, and how a clip ends."""

import numpy as np
import pytest

from calm_ft.evaluation.clips import TRUNCATED_END_DB
from calm_ft.metrics.base import NotMeasured, SpeechClip
from calm_ft.metrics.sound import Sound
from tests.metrics.conftest import RATE_HZ, number, recording, voiced


def test_half_a_second_of_silence_after_as_much_speech_is_half_of_the_clip() -> None:
    measured = Sound().measure(SpeechClip(np.concatenate([voiced(120, 0.5), np.zeros(RATE_HZ // 2)]), RATE_HZ, "a"))
    assert measured["silence_share"] == pytest.approx(0.5)
    assert measured["trailing_silence_sec"] == pytest.approx(0.5)
    assert measured["clipped_share"] == 0.0


def test_samples_at_full_scale_are_clipped() -> None:
    audio = voiced(120)
    audio[:240] = 1.0
    assert Sound().measure(SpeechClip(audio, RATE_HZ, "a"))["clipped_share"] == pytest.approx(0.01)


def test_a_recording_ends_quietly_and_one_cut_in_a_word_does_not() -> None:
    cut_in_words = 0
    for index in range(10):
        text, audio, rate_hz = recording(index)
        assert number(Sound(), SpeechClip(audio, rate_hz, text), "end_level_db") < TRUNCATED_END_DB
        cut = SpeechClip(audio[: int(0.6 * audio.size)], rate_hz, text)
        cut_in_words += number(Sound(), cut, "end_level_db") > TRUNCATED_END_DB
    assert cut_in_words >= 7  # a cut may fall on a pause or a soft consonant


def test_silence_is_all_silence_and_has_no_ending() -> None:
    measured = Sound().measure(SpeechClip(np.zeros(RATE_HZ), RATE_HZ, "a"))
    assert measured["silence_share"] == 1.0
    assert isinstance(measured["end_level_db"], NotMeasured)
