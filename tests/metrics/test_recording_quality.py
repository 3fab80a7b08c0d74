"""Figures of a recording that take no model, against sounds whose figures are known."""

import numpy as np
import pytest

from calm_ft.metrics.recording_quality import RecordingQuality, recording_quality
from tests.metrics.conftest import RATE_HZ, recording, voiced


def figures(audio: np.ndarray, rate_hz: int = RATE_HZ) -> RecordingQuality:
    found = recording_quality(audio, rate_hz)
    assert found is not None
    return found


def test_noise_under_speech_is_measured_to_two_decibels() -> None:
    rng = np.random.default_rng(0)
    speech = np.concatenate([voiced(120, 2.0), np.zeros(RATE_HZ), voiced(120, 2.0)])
    level = np.sqrt(np.mean(np.square(voiced(120, 2.0))))
    for snr_db in (10.0, 25.0):
        noisy = speech + level * 10 ** (-snr_db / 20) * rng.standard_normal(speech.size)
        assert figures(noisy).snr_db == pytest.approx(snr_db, abs=2.0)


def test_the_level_is_that_of_the_speech_and_a_gain_changes_nothing_else() -> None:
    speech = np.concatenate([voiced(120, 1.0), np.zeros(RATE_HZ)])
    own, quiet = figures(speech), figures(0.1 * speech)
    expected = 10 * np.log10(np.mean(np.square(voiced(120, 1.0))))
    assert own.level_dbfs == pytest.approx(expected, abs=0.5)
    assert quiet.level_dbfs == pytest.approx(own.level_dbfs - 20, abs=0.01)
    assert quiet.clipped_share == own.clipped_share
    assert quiet.snr_db == pytest.approx(own.snr_db)


def test_silence_has_no_figures_and_an_offset_is_no_sound() -> None:
    assert recording_quality(np.zeros(RATE_HZ), RATE_HZ) is None
    assert recording_quality(np.zeros(0), RATE_HZ) is None
    assert recording_quality(0.3 + np.zeros(RATE_HZ), RATE_HZ) is None


def test_silence_around_speech_is_no_fault_and_within_it_is() -> None:
    _, audio, rate_hz = recording(0)
    around = np.concatenate([np.zeros(4 * rate_hz), audio, np.zeros(4 * rate_hz)])
    assert list(figures(around, rate_hz).faults()) == []
    within = np.concatenate([audio[: rate_hz // 2], np.zeros(4 * rate_hz), audio[-rate_hz // 2 :]])
    assert any("s of speech" in fault for fault in figures(within, rate_hz).faults())


@pytest.mark.parametrize("index", range(6))
def test_a_clean_recording_has_no_fault(index: int) -> None:
    _, audio, rate_hz = recording(index)
    assert list(figures(audio, rate_hz).faults()) == []


def test_each_fault_is_named() -> None:
    _, audio, rate_hz = recording(0)
    middle = audio.size // 3 + int(np.argmax(np.abs(audio[audio.size // 3 : 2 * audio.size // 3])))
    spoiled = {
        "clipped": np.clip(9 * audio, -0.5, 0.5),
        "one of its channels is silent": np.stack([audio, 0 * audio], axis=1),
        "noise is only": audio + 0.05 * np.random.default_rng(0).standard_normal(audio.size),
        "its end is in the middle of sound": audio[:middle],
        "its start is in the middle of sound": audio[middle:],
    }
    for words, sound in spoiled.items():
        assert any(words in fault for fault in figures(sound, rate_hz).faults()), words
