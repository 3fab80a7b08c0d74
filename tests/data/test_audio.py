"""Prepared audio: rates, channels, formats, the fixed tail, and clips that are refused."""

import logging
import os

import numpy as np
import pytest
import soundfile

from calm_ft.data.audio import UnusableClip, load_clip, recorded_duration_sec
from calm_ft.data.utterance import Utterance, WordTime

RATE_HZ = 24000


def load(path, words=None, tail_sec=0.1, rate_hz=RATE_HZ):
    return load_clip(Utterance("id", path, "text", words=words), rate_hz, tail_sec)


def loudest_frequency_hz(samples, rate_hz=RATE_HZ):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate_hz / len(samples)


@pytest.mark.parametrize("recorded_hz", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 23999])
def test_any_rate_gives_the_same_duration_pitch_and_level(write_clip, make_tone, recorded_hz):
    path = write_clip("a.wav", make_tone(1.0, recorded_hz, 440), recorded_hz)
    samples = load(path, tail_sec=0.0).samples.numpy()
    assert abs(len(samples) - RATE_HZ) <= 1
    assert samples.dtype == np.float32
    assert loudest_frequency_hz(samples) == pytest.approx(440, abs=1.5)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.3, rel=0.01)


def test_down_sampling_removes_what_would_alias(write_clip, make_tone):
    mixture = make_tone(1.0, 48000, 440) + make_tone(1.0, 48000, 15000)
    samples = load(write_clip("a.wav", mixture, 48000), tail_sec=0.0).samples.numpy()
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert spectrum[9000] < 2e-3 * spectrum[440]  # 15 kHz would fold to 9 kHz; resample_poly stops 57 dB


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.wav", {"subtype": "PCM_U8"}),
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.flac", {"subtype": "PCM_24"}),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.oga", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.mp3", {}),
        ("a.aiff", {}),
        ("a.wav", {"subtype": "GSM610"}),
    ],
)
def test_every_file_format_gives_the_same_tone(tmp_path, make_tone, name, kind):
    soundfile.write(tmp_path / name, make_tone(1.0, 48000), 48000, **kind)
    samples = load(tmp_path / name, tail_sec=0.0).samples.numpy()
    assert abs(len(samples) - RATE_HZ) < 0.06 * RATE_HZ  # mp3 pads to whole blocks
    assert loudest_frequency_hz(samples) == pytest.approx(440, abs=2)
    assert np.sqrt(2) * samples[4000:-4000].std() == pytest.approx(0.3, rel=0.1)


def test_stereo_is_averaged(write_clip, make_tone):
    left, right = make_tone(amplitude=0.4), make_tone(amplitude=0.2)
    mono = load(write_clip("a.wav", np.stack([left, right], 1)), tail_sec=0.0).samples.numpy()
    assert np.allclose(mono, (left + right) / 2, atol=1e-6)


def test_channels_of_opposite_polarity_do_not_cancel(write_clip, make_tone):
    left, right = make_tone(amplitude=0.3), -make_tone(amplitude=0.29)
    mono = load(write_clip("a.wav", np.stack([left, right], 1)), tail_sec=0.0).samples.numpy()
    assert np.array_equal(mono, left)


def noisy(num_samples, level=1e-3):
    return np.random.default_rng(0).normal(0, level, num_samples).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_trailing_silence_becomes_exactly_the_tail(write_clip, make_tone, offset):
    speech = make_tone(1.0)
    recorded = np.concatenate([speech, noisy(3 * RATE_HZ)]) + np.float32(offset)
    samples = load(write_clip("a.wav", recorded), tail_sec=0.25).samples.numpy()
    assert np.array_equal(samples, recorded[: round(1.25 * RATE_HZ)])


def test_a_tail_that_was_not_recorded_is_zeros(write_clip, make_tone):
    samples = load(write_clip("a.wav", make_tone(1.0)), tail_sec=0.5).samples.numpy()
    assert len(samples) == 1.5 * RATE_HZ
    assert np.array_equal(samples[:RATE_HZ], make_tone(1.0))
    assert not samples[RATE_HZ:].any()


def test_leading_silence_is_cut_to_the_tail_unless_word_times_count_from_the_start(write_clip, make_tone):
    recorded = np.concatenate([noisy(2 * RATE_HZ), make_tone(1.0)])
    path = write_clip("a.wav", recorded)
    assert load(path, tail_sec=0.1).duration_sec == pytest.approx(1.2)
    words = (WordTime("word", 2.0, 3.0),)
    assert np.array_equal(load(path, words, tail_sec=0.0).samples.numpy(), recorded)


def test_silence_inside_a_clip_and_its_loudness_stay(write_clip, make_tone):
    recorded = np.concatenate([make_tone(0.5, amplitude=1.5), noisy(2 * RATE_HZ), make_tone(0.5, amplitude=0.2)])
    assert np.array_equal(load(write_clip("a.wav", recorded), tail_sec=0.0).samples.numpy(), recorded)


def with_sample(samples, value):
    samples[100] = value
    return samples


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0, np.float32), "has no samples"),
        (np.zeros(RATE_HZ, np.float32), "is silent"),
        (np.full(RATE_HZ, 0.2, np.float32), "is silent"),
        (noisy(RATE_HZ, 1e-4), "is silent"),
        (noisy(RATE_HZ, 9000.0), "holds integers as floating point"),
        (with_sample(noisy(RATE_HZ, 0.1), np.nan), "NaN or infinite"),
        (with_sample(noisy(RATE_HZ, 0.1), np.inf), "NaN or infinite"),
        (noisy(RATE_HZ // 10, 0.1), "less than 0.2 s of speech"),
        (np.pad(noisy(RATE_HZ // 10, 0.1), RATE_HZ), "less than 0.2 s of speech"),
    ],
)
def test_unusable_samples_are_refused_with_the_reason(write_clip, samples, reason):
    path = write_clip("a.wav", samples)
    with pytest.raises(UnusableClip, match=reason):
        load(path)


@pytest.mark.parametrize("content", [b"", b"not audio at all", b"RIFF\x00\x00\x00\x00WAVE"])
def test_an_unreadable_file_is_refused(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    for read in (load, lambda path: recorded_duration_sec(Utterance("id", path, "text"))):
        with pytest.raises(UnusableClip, match=r"cannot be read \((Format not recognised|Error in WAV file)"):
            read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "error", [ValueError("cannot seek"), RuntimeError("internal"), TypeError("codec"), MemoryError("2 EiB"), OSError()]
)
def test_whatever_the_decoder_raises_refuses_the_clip(write_clip, monkeypatch, error):
    def fail(*_, **__):
        raise error

    path = write_clip("a.wav")
    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(UnusableClip, match=rf"cannot be read \(.*{error}"):
        load(path)


def test_a_file_name_that_is_not_utf8_is_read(write_clip, make_tone):
    path = write_clip("a.wav", make_tone(1.0))
    path = path.rename(path.parent / os.fsdecode(b"b\xff.wav"))
    assert np.array_equal(load(path, tail_sec=0.0).samples.numpy(), make_tone(1.0))


def test_what_the_mp3_decoder_prints_goes_to_the_log_with_the_files_name(tmp_path, make_tone, capfd, caplog):
    soundfile.write(tmp_path / "whole.mp3", make_tone(3.0), RATE_HZ)
    content = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "twice.mp3").write_bytes(2 * content)  # the length in its header is off by half
    soundfile.read(tmp_path / "twice.mp3")
    assert "Xing stream size off" in capfd.readouterr().err
    with caplog.at_level(logging.DEBUG):
        load(tmp_path / "twice.mp3")
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"
    assert f"{tmp_path}/twice.mp3: Warning: Xing stream size off" in caplog.text


def test_a_file_that_breaks_off_is_refused(tmp_path, write_clip, make_tone):
    whole = write_clip("whole.flac", make_tone(2.0) + noisy(2 * RATE_HZ, 0.01)).read_bytes()
    (tmp_path / "half.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnusableClip, match="cannot be read"):
        load(tmp_path / "half.flac")


KINDS = [
    ("a.wav", {}),
    ("a.flac", {}),
    ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}),
    ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ("a.mp3", {}),
    ("a.wav", {"subtype": "GSM610"}),  # a codec that cannot seek
]


@pytest.mark.parametrize(("name", "kind"), KINDS)
@pytest.mark.parametrize("start_sec", [0.3, 3.1234])
def test_a_segment_is_what_decoding_the_whole_file_gives_there(tmp_path, make_tone, name, kind, start_sec):
    soundfile.write(tmp_path / name, make_tone(5.0) + noisy(5 * RATE_HZ, 0.02), RATE_HZ, **kind)
    words = (WordTime("word", 0.0, 0.5),)  # keeps load_clip from cutting the head
    whole = load(tmp_path / name, words, tail_sec=0.0).samples.numpy()
    utterance = Utterance("id", tmp_path / name, "text", words=words, start_sec=start_sec, end_sec=start_sec + 1.5)
    samples = load_clip(utterance, RATE_HZ, tail_sec=0.0).samples.numpy()
    first = round(start_sec * RATE_HZ)
    assert len(samples) == round(1.5 * RATE_HZ)
    assert np.allclose(samples, whole[first : first + len(samples)], atol=1e-5)
    assert recorded_duration_sec(utterance) == pytest.approx(1.5, abs=1 / RATE_HZ)


def test_a_segment_of_a_lossless_file_is_exact_to_the_sample(write_clip):
    recorded = noisy(3 * RATE_HZ, 0.1)
    path = write_clip("a.wav", recorded)
    words = (WordTime("word", 0.0, 0.5),)
    utterance = Utterance("id", path, "text", words=words, start_sec=0.7123, end_sec=2.0)
    samples = load_clip(utterance, RATE_HZ, tail_sec=0.0).samples.numpy()
    assert np.array_equal(samples, recorded[round(0.7123 * RATE_HZ) : 2 * RATE_HZ])


def test_a_segment_to_the_end_may_round_past_it(write_clip):
    path = write_clip("a.wav", noisy(3 * RATE_HZ, 0.1))
    to_the_end = load_clip(Utterance("id", path, "text", start_sec=1.0), RATE_HZ, tail_sec=0.0)
    past_it = load_clip(Utterance("id", path, "text", start_sec=1.0, end_sec=3.1), RATE_HZ, tail_sec=0.0)
    assert to_the_end.duration_sec == past_it.duration_sec == 2.0


@pytest.mark.parametrize(("start_sec", "end_sec"), [(3.5, None), (1.0, 4.0), (2.0, 2.0), (2.0, 1.0)])
def test_a_segment_that_its_file_does_not_hold_is_refused(write_clip, make_tone, start_sec, end_sec):
    utterance = Utterance("id", write_clip("a.wav", make_tone(3.0)), "text", start_sec=start_sec, end_sec=end_sec)
    for read in (lambda: load_clip(utterance, RATE_HZ, 0.1), lambda: recorded_duration_sec(utterance)):
        with pytest.raises(UnusableClip, match=r"the segment from .* is not within the audio of 3.00 s"):
            read()
