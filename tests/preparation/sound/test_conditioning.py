"""Loudness against pyloudnorm, the peak, and the silence at both ends of the demo voice's clips."""

import numpy as np
import pytest
import soundfile
from pyloudnorm import Meter

from calm_ft.config import ASSETS
from calm_ft.preparation.clips import Span
from calm_ft.preparation.sound.conditioning import Conditioning, condition, loudness_lufs

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return soundfile.read(ASSETS / "demo_voice" / "train" / "000.ogg")[0]


def around(samples: np.ndarray, before_sec: float, after_sec: float) -> np.ndarray:
    return np.concatenate([np.zeros(round(before_sec * RATE_HZ)), samples, np.zeros(round(after_sec * RATE_HZ))])


@pytest.mark.parametrize("level", [0.01, 0.3, 1.0])
def test_speech_has_the_loudness_that_was_asked_for(speech, level):
    spans = [Span(0.0, len(speech) / RATE_HZ)]
    made = condition(speech * level, RATE_HZ, Conditioning(silence_sec=0.0), spans)
    assert Meter(RATE_HZ).integrated_loudness(made.samples.astype(float)) == pytest.approx(-23, abs=0.01)


def test_a_click_keeps_the_gain_under_the_peak(speech):
    clicked = 0.05 * speech
    clicked[len(clicked) // 2] = 0.9
    made = condition(clicked, RATE_HZ, Conditioning(loudness_lufs=-16))
    assert np.abs(made.samples).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)
    kept = made.samples[round(0.5 * RATE_HZ) : round(0.6 * RATE_HZ)]
    start = round(made.start_sec * RATE_HZ) + round(0.5 * RATE_HZ)
    given = (clicked - clicked.mean())[start : start + len(kept)]
    np.testing.assert_allclose(kept, given * 10 ** (made.gain_db / 20), atol=1e-6)


@pytest.mark.parametrize(("before_sec", "after_sec"), [(0, 0), (1.0, 0.7), (0.05, 3.0)])
def test_the_silence_at_both_ends_is_set(speech, before_sec, after_sec):
    plain = condition(speech, RATE_HZ, Conditioning())
    made = condition(around(speech, before_sec, after_sec), RATE_HZ, Conditioning())
    assert len(made.samples) == pytest.approx(len(plain.samples), abs=0.06 * RATE_HZ)
    assert made.end_sec - made.start_sec == pytest.approx(len(made.samples) / RATE_HZ, abs=1e-3)
    loud = np.flatnonzero(np.abs(made.samples) > 0.05 * np.abs(made.samples).max())
    assert loud[0] / RATE_HZ == pytest.approx(0.2, abs=0.08)
    assert np.abs(made.samples[: round(0.1 * RATE_HZ)]).max() < 1e-4


def test_a_quiet_fricative_at_the_end_is_kept(speech):
    """A hiss 35 dB under the speech, right behind it, which voice activity does not take for speech."""
    rng = np.random.default_rng(0)
    loud = np.flatnonzero(np.abs(speech) > 0.02)
    words = speech[: loud[-1] + 1]
    hiss = np.diff(rng.normal(size=round(0.15 * RATE_HZ) + 1))
    hiss *= words.std() * 10 ** (-35 / 20) / hiss.std()
    sound = around(np.concatenate([words, hiss]), 0.0, 1.0)
    sound += rng.normal(size=sound.size) * words.std() * 10 ** (-60 / 20)
    made = condition(sound, RATE_HZ, Conditioning(silence_sec=0.05))
    assert made.end_sec >= (len(words) + len(hiss)) / RATE_HZ


def test_an_offset_is_removed(speech):
    made = condition(around(speech, 0.5, 0.5) * 0.3 + 0.2, RATE_HZ, Conditioning())
    assert abs(made.samples.mean()) < 1e-3
    assert np.abs(made.samples[:1000]).max() < 1e-3


def test_nothing_is_changed_where_nothing_is_asked_for(speech):
    made = condition(speech, RATE_HZ, Conditioning(loudness_lufs=None, silence_sec=None))
    np.testing.assert_allclose(made.samples, speech - speech.mean(), atol=1e-6)
    assert (made.gain_db, made.start_sec) == (0.0, 0.0)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(RATE_HZ), np.full(10, 0.3)])
def test_sound_without_speech_stays_finite(samples):
    made = condition(samples, RATE_HZ, Conditioning())
    assert made.samples.shape == samples.shape
    assert np.isfinite(made.samples).all()


def test_the_loudness_of_sound_shorter_than_a_block_is_that_of_a_longer_one():
    sine = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE_HZ) / RATE_HZ)
    assert loudness_lufs(sine[: RATE_HZ // 10], RATE_HZ) == pytest.approx(loudness_lufs(sine, RATE_HZ), abs=0.1)
