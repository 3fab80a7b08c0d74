"""The mel-cepstral distortion: its definition, its invariances, and what makes it grow."""

import math
import time

import librosa
import numpy as np
import pytest
import torch

from calm_ft.metrics.audio_io import trim_silence
from calm_ft.metrics.distortion import (
    DB_PER_CEPSTRAL_DISTANCE,
    NUM_CEPSTRA,
    dtw_distortion,
    mel_cepstra,
    mel_cepstral_distortion,
)
from tests.metrics.espeak_speech import SAMPLE_RATE_HZ, SENTENCES, speak


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return speak(SENTENCES[0], "Annie")


def test_a_clip_has_no_distortion_against_itself(clip):
    assert mel_cepstral_distortion(clip, clip, SAMPLE_RATE_HZ) == 0
    assert mel_cepstral_distortion(torch.from_numpy(clip)[None], clip, SAMPLE_RATE_HZ) == 0


def test_silence_at_the_ends_and_gain_change_nothing(clip):
    other = 0.1 * np.pad(clip, (1234, 4321))
    assert mel_cepstral_distortion(clip, other, SAMPLE_RATE_HZ) < 1e-4


def test_two_clips_give_the_same_distortion_in_either_order(clip):
    other = speak(SENTENCES[0], "f5")
    there = mel_cepstral_distortion(clip, other, SAMPLE_RATE_HZ)
    assert there == pytest.approx(mel_cepstral_distortion(other, clip, SAMPLE_RATE_HZ))
    assert there > 1


def test_distortion_rises_with_noise(clip):
    noise = np.random.default_rng(0).standard_normal(clip.size)
    noise *= np.sqrt(np.mean(clip**2) / np.mean(noise**2))
    distortions = [
        mel_cepstral_distortion(clip, clip + noise * 10 ** (-snr_db / 20), SAMPLE_RATE_HZ)
        for snr_db in (40, 30, 20, 10, 0)
    ]
    assert np.all(np.diff(distortions) > 0.5)


@pytest.mark.parametrize("rate", [0.9, 1.1])
def test_alignment_halves_the_distortion_of_a_stretched_clip(clip, rate):
    stretched = mel_cepstra(librosa.effects.time_stretch(clip, rate=rate), SAMPLE_RATE_HZ)
    original = mel_cepstra(clip, SAMPLE_RATE_HZ)
    num_frames = min(len(stretched), len(original))
    distance = np.linalg.norm(original[:num_frames] - stretched[:num_frames], axis=1)
    unaligned = DB_PER_CEPSTRAL_DISTANCE * distance.mean()
    assert dtw_distortion(original, stretched) < 0.6 * unaligned


def test_repeated_frames_cost_nothing_after_alignment(clip):
    cepstra = mel_cepstra(clip, SAMPLE_RATE_HZ)
    assert dtw_distortion(cepstra, np.repeat(cepstra, 2, axis=0)) == 0


def test_distortion_is_the_rms_difference_in_db_of_the_smoothed_spectra():
    """Second implementation: the spectra that two sets of cepstra stand for, compared band by band."""
    first, second = np.random.default_rng(1).standard_normal((2, 1, NUM_CEPSTRA))
    frequency = np.pi * (np.arange(40) + 0.5) / 40
    cosines = np.cos(np.outer(np.arange(1, NUM_CEPSTRA + 1), frequency))
    difference_db = 20 / math.log(10) * (first - second) @ cosines
    assert dtw_distortion(first, second) == pytest.approx(np.sqrt(np.mean(difference_db**2)))


def test_cepstra_are_those_of_the_log_amplitude():
    """A cosine ripple of the log mel amplitude, put on white noise, comes back as that cepstrum."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(4 * SAMPLE_RATE_HZ)
    frequency_hz = np.fft.rfftfreq(noise.size, 1 / SAMPLE_RATE_HZ)
    position = librosa.hz_to_mel(frequency_hz) / librosa.hz_to_mel(SAMPLE_RATE_HZ / 2)
    rippled = np.fft.irfft(np.fft.rfft(noise) * np.exp(0.8 * np.cos(np.pi * 3 * position)))
    change = mel_cepstra(rippled, SAMPLE_RATE_HZ).mean(0) - mel_cepstra(noise, SAMPLE_RATE_HZ).mean(0)
    expected = np.zeros(NUM_CEPSTRA)
    expected[2] = 0.8
    np.testing.assert_allclose(change, expected, atol=0.06)


def test_warping_finds_the_cheapest_path():
    """Second implementation: every path of a small problem, by recursion."""
    first, second = np.random.default_rng(3).standard_normal((2, 5, NUM_CEPSTRA))
    second = second[:4]
    distance = np.linalg.norm(first[:, None] - second[None], axis=-1)

    def best(i: int, j: int) -> tuple[float, int]:
        if i == 0 and j == 0:
            return distance[0, 0], 1
        before = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        total, length = min(best(*place) for place in before if min(place) >= 0)
        return total + distance[i, j], length + 1

    total, length = best(4, 3)
    assert dtw_distortion(first, second) == pytest.approx(DB_PER_CEPSTRAL_DISTANCE * total / length)


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(8000), np.full(8000, 1e-5), np.full(8000, np.nan)])
def test_empty_and_silent_audio_has_no_frames_and_infinite_distortion(clip, audio):
    assert mel_cepstra(audio, SAMPLE_RATE_HZ).shape == (0, NUM_CEPSTRA)
    assert mel_cepstral_distortion(clip, audio, SAMPLE_RATE_HZ) == math.inf


def test_ten_milliseconds_can_be_compared(clip):
    short = clip[16_000:16_160]
    assert trim_silence(short, SAMPLE_RATE_HZ).size > 0
    assert math.isfinite(mel_cepstral_distortion(clip, short, SAMPLE_RATE_HZ))


def test_a_comparison_takes_less_than_50_ms(clip):
    other = speak(SENTENCES[0], "f5")
    mel_cepstral_distortion(clip, other, SAMPLE_RATE_HZ)  # compiles the warping
    durations_sec = []
    for _ in range(5):
        start = time.perf_counter()
        mel_cepstral_distortion(clip, other, SAMPLE_RATE_HZ)
        durations_sec.append(time.perf_counter() - start)
    assert min(durations_sec) < 0.05
