"""Distance to a recording: the mel-cepstral distortion by its definition; pitch and length with known answers."""

import math
import time

import librosa
import numpy as np
import pytest
import torch

from calm_ft.metrics.audio_io import trim_silence
from calm_ft.metrics.base import NotMeasured, SpeechClip
from calm_ft.metrics.distortion import (
    DB_PER_CEPSTRAL_DISTANCE,
    NUM_CEPSTRA,
    Distortion,
    Pitch,
    dtw_distortion,
    mel_cepstra,
    mel_cepstral_distortion,
)
from tests.metrics.conftest import RATE_HZ, SAMPLE_RATE_HZ, SENTENCES, clip, number, speak, voiced


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speak(SENTENCES[0], "Annie")


def test_a_clip_has_no_distortion_against_itself(speech):
    assert mel_cepstral_distortion(speech, speech, SAMPLE_RATE_HZ) == 0
    assert mel_cepstral_distortion(torch.from_numpy(speech)[None], speech, SAMPLE_RATE_HZ) == 0


def test_silence_at_the_ends_and_gain_change_nothing(speech):
    other = 0.1 * np.pad(speech, (1234, 4321))
    assert mel_cepstral_distortion(speech, other, SAMPLE_RATE_HZ) < 1e-4


def test_two_clips_give_the_same_distortion_in_either_order(speech):
    other = speak(SENTENCES[0], "f5")
    there = mel_cepstral_distortion(speech, other, SAMPLE_RATE_HZ)
    assert there == pytest.approx(mel_cepstral_distortion(other, speech, SAMPLE_RATE_HZ))
    assert there > 1


def test_distortion_rises_with_noise(speech):
    noise = np.random.default_rng(0).standard_normal(speech.size)
    noise *= np.sqrt(np.mean(speech**2) / np.mean(noise**2))
    distortions = [
        mel_cepstral_distortion(speech, speech + noise * 10 ** (-snr_db / 20), SAMPLE_RATE_HZ)
        for snr_db in (40, 30, 20, 10, 0)
    ]
    assert np.all(np.diff(distortions) > 0.5)


@pytest.mark.parametrize("rate", [0.9, 1.1])
def test_alignment_halves_the_distortion_of_a_stretched_clip(speech, rate):
    stretched = mel_cepstra(librosa.effects.time_stretch(speech, rate=rate), SAMPLE_RATE_HZ)
    original = mel_cepstra(speech, SAMPLE_RATE_HZ)
    num_frames = min(len(stretched), len(original))
    distance = np.linalg.norm(original[:num_frames] - stretched[:num_frames], axis=1)
    unaligned = DB_PER_CEPSTRAL_DISTANCE * distance.mean()
    assert dtw_distortion(original, stretched) < 0.6 * unaligned


def test_repeated_frames_cost_nothing_after_alignment(speech):
    cepstra = mel_cepstra(speech, SAMPLE_RATE_HZ)
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
def test_empty_and_silent_audio_has_no_frames_and_infinite_distortion(speech, audio):
    assert mel_cepstra(audio, SAMPLE_RATE_HZ).shape == (0, NUM_CEPSTRA)
    assert mel_cepstral_distortion(speech, audio, SAMPLE_RATE_HZ) == math.inf


def test_ten_milliseconds_can_be_compared(speech):
    short = speech[16_000:16_160]
    assert trim_silence(short, SAMPLE_RATE_HZ).size > 0
    assert math.isfinite(mel_cepstral_distortion(speech, short, SAMPLE_RATE_HZ))


def test_a_comparison_takes_less_than_50_ms(speech):
    other = speak(SENTENCES[0], "f5")
    mel_cepstral_distortion(speech, other, SAMPLE_RATE_HZ)  # compiles the warping
    durations_sec = []
    for _ in range(5):
        start = time.perf_counter()
        mel_cepstral_distortion(speech, other, SAMPLE_RATE_HZ)
        durations_sec.append(time.perf_counter() - start)
    assert min(durations_sec) < 0.05


def test_a_recording_against_itself_has_no_distortion_no_pitch_error_and_its_own_duration() -> None:
    assert Distortion().measure(clip()) == {"mcd_db": 0.0, "duration_ratio": 1.0}
    assert Pitch().measure(clip()) == {"log_f0_rmse": 0.0, "voicing_error": 0.0}


@pytest.mark.parametrize("semitones", [-4, 3, 7])
def test_a_known_pitch_shift_is_its_size_in_cents(semitones: int) -> None:
    shifted = SpeechClip(voiced(120 * 2 ** (semitones / 12)), RATE_HZ, "a", voiced(120))
    assert Pitch().measure(shifted)["log_f0_rmse"] == pytest.approx(100 * abs(semitones), abs=10)


def test_noise_in_the_place_of_a_voice_is_a_voicing_error_without_a_pitch_error() -> None:
    whispered = SpeechClip(0.1 * np.random.default_rng(0).standard_normal(RATE_HZ), RATE_HZ, "a", voiced(120))
    measured = Pitch().measure(whispered)
    assert isinstance(measured["log_f0_rmse"], NotMeasured)
    assert number(Pitch(), whispered, "voicing_error") > 0.8


def test_twice_as_long_is_a_duration_ratio_of_two() -> None:
    measured = Distortion().measure(SpeechClip(voiced(120, 2.0), RATE_HZ, "a", voiced(120, 1.0)))
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
    measured = metric.measure(SpeechClip(audio, RATE_HZ, "a", reference))
    assert len(measured) == 2
    assert all(isinstance(each, NotMeasured) and reason in each.reason for each in measured.values())
