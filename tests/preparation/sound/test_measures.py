"""Faults planted in clips of the demo voice: each is named by its kind, and the clean clips are named by none."""

from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from pyloudnorm import Meter
from scipy.signal import fftconvolve, resample_poly

from calm_ft.config import ASSETS
from calm_ft.preparation.sound.measures import faults, measure

RATE_HZ = 16_000
RNG = np.random.default_rng(0)


def clip(number: int) -> np.ndarray:
    """A clip of the demo voice with 0.3 s of a quiet room around it."""
    samples = soundfile.read(ASSETS / "demo_voice" / "train" / f"{number:03}.ogg")[0]
    padded = np.pad(samples, round(0.3 * RATE_HZ))
    return padded + np.random.default_rng(number).normal(size=padded.size) * 1e-4


def kinds(samples: np.ndarray, rate_hz: int = RATE_HZ) -> list[str]:
    return [kind for kind, _ in faults(measure(samples.astype(np.float32), rate_hz))]


def with_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    return 0.5 * (samples + noise * samples.std() / noise.std() * 10 ** (-snr_db / 20))


def in_a_hall(samples: np.ndarray) -> np.ndarray:
    size = round(1.2 * RATE_HZ)
    response = np.random.default_rng(1).normal(size=size) * 10 ** (-3 * np.arange(size) / size)
    response /= np.linalg.norm(response)
    response[0] = 1.0
    return 0.5 * fftconvolve(samples, response)


def chords(num_samples: int) -> np.ndarray:
    """Three notes at a time, another chord every 0.4 s."""
    time_sec = np.arange(num_samples) / RATE_HZ
    roots_hz = 220 * 2 ** (np.array([0, 5, 7, 3, 8, 0, 10, 5])[(time_sec / 0.4).astype(int) % 8] / 12)
    return np.sum([np.sin(2 * np.pi * np.cumsum(roots_hz * ratio) / RATE_HZ) for ratio in (1, 1.26, 1.5, 2, 3)], axis=0)


def half(samples: np.ndarray, at_end: bool) -> np.ndarray:
    """Cut at the loudest 20 ms between 40 and 60 % of the clip."""
    width = RATE_HZ // 50
    power = np.square(samples[: len(samples) // width * width]).reshape(-1, width).mean(axis=1)
    near = slice(len(power) * 2 // 5, len(power) * 3 // 5)
    cut = (near.start + int(np.argmax(power[near]))) * width + width // 2
    return samples[:cut] if at_end else samples[cut:]


PLANTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clipped": lambda samples: np.clip(6 * samples / np.abs(samples).max(), -1, 1),
    "too_quiet": lambda samples: 0.01 * samples,
    "noisy": lambda samples: with_noise(samples, RNG.normal(size=samples.size), 6),
    "music": lambda samples: with_noise(samples, chords(samples.size), 6),
    "silent_channel": lambda samples: np.stack([samples, 0 * samples], 1),
    "reversed_polarity": lambda samples: np.stack([samples, -samples], 1),
    "offset": lambda samples: 0.5 * samples + 0.1,
    "reverberant": in_a_hall,
    "cut_start": lambda samples: half(samples, at_end=False),
    "cut_end": lambda samples: half(samples, at_end=True),
    "mostly_silence": lambda samples: np.pad(samples, (0, 8 * RATE_HZ)),
    "long_pause": lambda samples: np.concatenate([samples, np.zeros(3 * RATE_HZ), samples]),
    "too_short": lambda samples: samples[: round(0.8 * RATE_HZ)],
    "too_long": lambda samples: np.tile(samples, 15),
    "integer_samples": lambda samples: samples * 32767,
    "above_full_scale": lambda samples: 1.5 * samples / np.abs(samples).max(),
    "not_a_number": lambda samples: np.where(np.arange(samples.size) % 999 == 5, np.nan, samples),
    "silent": lambda samples: 0 * samples,
    "no_speech": lambda samples: 0.1 * RNG.normal(size=samples.size),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_named(kind):
    found = [kinds(PLANTED[kind](clip(number))) for number in range(4)]
    assert sum(kind in names for names in found) >= 3


def test_clean_clips_are_called_clean():
    assert [kinds(clip(number)) for number in range(12)] == [[]] * 12


def test_a_file_whose_rate_promises_more_than_it_holds_is_narrow_band():
    from_16_khz = resample_poly(clip(1), 3, 1)
    assert kinds(from_16_khz, 3 * RATE_HZ) == ["narrow_band"]
    at_8_khz = resample_poly(clip(1), 1, 2)
    assert kinds(resample_poly(at_8_khz, 2, 1)) == ["narrow_band"]
    assert kinds(at_8_khz, RATE_HZ // 2) == []


def test_loudness_is_pyloudnorms_and_the_peak_is_the_largest_sample():
    samples = clip(0)
    measures = measure(samples, RATE_HZ)
    expected = Meter(RATE_HZ).integrated_loudness(samples - samples.mean())
    assert measures.loudness_lufs == pytest.approx(expected, abs=1e-6)
    assert measures.peak_dbfs == pytest.approx(20 * np.log10(np.abs(samples).max()))


@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_the_signal_to_noise_ratio_is_near_the_planted_one(snr_db):
    """The speech's level is that of its spans, a little above the mean over the clip."""
    noisy = with_noise(clip(2), RNG.normal(size=clip(2).size), snr_db)
    assert measure(noisy, RATE_HZ).snr_db == pytest.approx(snr_db + 2.5, abs=2.5)


def test_the_level_changes_no_other_figure():
    loud, quiet = measure(clip(3), RATE_HZ), measure(0.02 * clip(3), RATE_HZ)
    for name in ("snr_db", "noise_flatness_db", "bandwidth_hz", "decay_sec", "start_level_db", "end_level_db"):
        assert getattr(quiet, name) == pytest.approx(getattr(loud, name), abs=0.1)


@pytest.mark.parametrize("samples", [np.zeros((0, 1)), np.zeros((100, 2)), np.full((5, 1), np.nan), np.ones(3)])
def test_sound_of_any_size_is_measured(samples):
    measures = measure(samples, RATE_HZ)
    assert measures.duration_sec == len(samples) / RATE_HZ
    assert faults(measures)
