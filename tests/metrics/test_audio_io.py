"""Silence, trimming, and audio in files."""

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.metrics.audio_io import as_mono, is_silent, trim_silence, write_wav
from tests.metrics.conftest import SAMPLE_RATE_HZ, SENTENCES, speak


def test_silence_begins_at_60_db_below_full_scale():
    assert is_silent(np.full(1000, 0.0009), SAMPLE_RATE_HZ)
    assert not is_silent(np.full(1000, 0.0011), SAMPLE_RATE_HZ)
    assert is_silent(np.zeros(0), SAMPLE_RATE_HZ)


def test_trimming_keeps_the_same_samples_whatever_is_around_them():
    clip = speak(SENTENCES[0], "Annie")
    kept = trim_silence(clip, SAMPLE_RATE_HZ)
    np.testing.assert_array_equal(trim_silence(np.pad(clip, (1234, 99)), SAMPLE_RATE_HZ), kept)
    np.testing.assert_allclose(trim_silence(0.25 * clip, SAMPLE_RATE_HZ), 0.25 * kept)
    assert 0.7 * clip.size < kept.size < clip.size


def test_trimming_a_tone_finds_its_ends():
    tone = np.pad(np.full(1600, 0.5), (800, 2400))
    assert trim_silence(tone, SAMPLE_RATE_HZ).size == pytest.approx(1600, abs=8)
    assert trim_silence(np.pad([0.5], 300), SAMPLE_RATE_HZ).tolist() == [0.5]


def test_stereo_is_refused():
    with pytest.raises(ValueError, match=r"mono.*\[2, 100\]"):
        as_mono(np.zeros((2, 100)))


def test_a_wav_file_comes_back_clipped_in_16_bits(tmp_path):
    path = tmp_path / "new" / "clip.wav"
    write_wav(path, torch.tensor([[0.0, 0.5, -0.25, 3.0, -3.0]]), SAMPLE_RATE_HZ)
    audio, sample_rate_hz = soundfile.read(path)
    assert sample_rate_hz == SAMPLE_RATE_HZ
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_allclose(audio, [0.0, 0.5, -0.25, 1.0, -1.0], atol=1 / 32768)
