"""Signals of which the true answer is known: voiced tones, and recordings of the demo voice."""

import functools

import numpy as np
import soundfile

from calm_ft.metrics.base import Clip
from tests.conftest import DEMO_TRAIN

RATE_HZ = 24_000


def voiced(f0_hz: float, duration_sec: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Twenty harmonics [T] whose amplitudes fall and change over time as a vowel's do."""
    time_sec = np.arange(round(duration_sec * rate_hz)) / rate_hz
    tone = sum(np.cos(2 * np.pi * k * f0_hz * time_sec) / k for k in range(1, 21))
    return 0.1 * np.asarray(tone) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time_sec))


@functools.cache
def recording(index: int = 0) -> tuple[str, np.ndarray, int]:
    """A text, its recording [T] by the demo voice, and the rate."""
    path = sorted(DEMO_TRAIN.glob("*.ogg"))[index]
    audio, rate_hz = soundfile.read(path)
    return path.with_suffix(".txt").read_text(encoding="utf-8").strip(), audio, rate_hz


def clip(index: int = 0, gain: float = 1.0, noise: float = 0.0) -> Clip:
    """A recording against itself, with white noise of this standard deviation."""
    text, audio, rate_hz = recording(index)
    hiss = noise * np.random.default_rng(0).standard_normal(audio.size)
    return Clip(np.clip(gain * audio + hiss, -1, 1), rate_hz, text, audio)
