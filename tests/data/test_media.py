"""Audio that libsndfile cannot read: level, pitch, place and length are those of the sound that was encoded."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from calm_ft.data import media
from calm_ft.data.audio import UnusableClip, known_duration_sec, load_clip, read_samples
from calm_ft.data.utterance import Utterance

av = pytest.importorskip("av")

RATE_HZ = 48000


def chirps(duration_sec=4.0, rate_hz=RATE_HZ):
    """Noise of a new colour and level every 50 ms: any shift of a part can be measured."""
    rng = np.random.default_rng(0)
    length = rate_hz // 20
    parts = []
    for _ in range(round(duration_sec * 20)):
        time_sec = np.arange(length) / rate_hz
        parts.append(rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * rng.uniform(200, 2000) * time_sec))
    return np.concatenate(parts).astype(np.float32)


def encode(path, samples, codec, container=None, rate_hz=RATE_HZ, layout="mono", with_video=False):
    """Writes samples `[T]` or `[C, T]` with PyAV."""
    with av.open(str(path), "w", format=container) as output:
        if with_video:
            video = output.add_stream("mpeg4", rate=5)
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
        stream = output.add_stream(codec, rate=rate_hz, layout=layout)
        stream.bit_rate = 128_000
        if with_video:
            for _ in range(20):
                output.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
            output.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.atleast_2d(samples), format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        frame.pts, frame.time_base = 0, Fraction(1, rate_hz)
        for converted in av.AudioResampler(format=stream.format, layout=layout, rate=rate_hz).resample(frame):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))


def utterance(path, start_sec=0.0, end_sec=None):
    return Utterance("id", Path(path), "text", start_sec=start_sec, end_sec=end_sec)


def lag_samples(part, whole):
    """Where `part` fits best in `whole`."""
    return int(correlate(whole, part, mode="valid", method="fft").argmax())


# The last number is how many samples the encoder puts before the sound where the container does not say so.
KINDS = {
    "a.m4a": ("aac", None, 0),
    "a.mp4": ("aac", None, 0),
    "a.mov": ("alac", None, 0),
    "a.M4A": ("alac", "ipod", 0),
    "a.webm": ("libopus", None, 0),
    "a.mka": ("pcm_s16le", "matroska", 0),
    "a.mkv": ("ac3", None, 0),
    "a.aac": ("aac", "adts", 1024),
    "a.wv": ("wavpack", "wv", 0),
    "named wrongly.wav": ("aac", "mp4", 0),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_was_encoded_is_read_at_its_level_and_place(tmp_path, name):
    codec, container, priming = KINDS[name]
    sound = chirps()
    encode(tmp_path / name, sound, codec, container)
    samples, rate_hz = read_samples(utterance(tmp_path / name))
    assert (rate_hz, samples.dtype, samples.shape[1]) == (RATE_HZ, np.float32, 1)
    mono = samples[:, 0]
    middle = slice(RATE_HZ, 2 * RATE_HZ)
    lag = lag_samples(sound[middle], mono) - RATE_HZ
    assert abs(lag - priming) <= RATE_HZ // 1000
    heard = mono[RATE_HZ + lag : 2 * RATE_HZ + lag]
    assert np.corrcoef(heard, sound[middle])[0, 1] > 0.98
    assert heard.std() == pytest.approx(sound[middle].std(), rel=0.05)


@pytest.mark.parametrize("name", KINDS)
def test_the_length_is_known_without_decoding(tmp_path, name):
    codec, container, _ = KINDS[name]
    encode(tmp_path / name, chirps(), codec, container)
    assert known_duration_sec(utterance(tmp_path / name)) == pytest.approx(4.0, abs=0.12)
    assert known_duration_sec(utterance(tmp_path / name, 1.0, 2.5)) == 1.5


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("start_sec", [0.3, 2.3456])
def test_a_segment_is_what_the_whole_file_holds_there(tmp_path, name, start_sec):
    codec, container, _ = KINDS[name]
    encode(tmp_path / name, chirps(), codec, container)
    whole, _ = read_samples(utterance(tmp_path / name))
    part, _ = read_samples(utterance(tmp_path / name, start_sec, start_sec + 1.0))
    assert part.shape == (RATE_HZ, 1)
    first = round(start_sec * RATE_HZ)
    lag = lag_samples(part[:, 0], whole[: first + RATE_HZ + 500, 0])
    assert abs(lag - first) <= RATE_HZ // 1000  # containers whose times are milliseconds
    assert np.abs(part - whole[lag : lag + RATE_HZ]).max() < 0.03  # AAC fills bands with noise of its own


def test_wma_is_read_from_its_first_packet_on(tmp_path):
    sound = chirps(rate_hz=44100)
    encode(tmp_path / "a.wma", np.stack([sound, sound]), "wmav2", "asf", 44100, "stereo")
    samples, rate_hz = read_samples(utterance(tmp_path / "a.wma"))
    assert (rate_hz, samples.shape[1]) == (44100, 2)
    lag = lag_samples(sound[44100:88200], samples[:, 0])
    assert np.corrcoef(samples[lag : lag + 44100, 0], sound[44100:88200])[0, 1] > 0.98


def test_of_a_film_the_sound_is_read_and_both_channels_are_kept(tmp_path):
    left, right = chirps(), 0.5 * chirps()[::-1]
    encode(tmp_path / "a.mp4", np.stack([left, right]), "aac", layout="stereo", with_video=True)
    samples, _ = read_samples(utterance(tmp_path / "a.mp4"))
    middle = slice(RATE_HZ, 2 * RATE_HZ)
    assert np.corrcoef(samples[middle, 0], left[middle])[0, 1] > 0.98
    assert np.corrcoef(samples[middle, 1], right[middle])[0, 1] > 0.98


def test_a_recording_of_a_browser_whose_header_has_no_length_is_measured(tmp_path):
    encode(tmp_path / "whole.webm", chirps(), "libopus")
    with open(tmp_path / "a.webm", "wb") as file:

        class Pipe:
            """As a browser writes: it never goes back to fill in the length."""

            def write(self, data):
                return file.write(data)

        with av.open(str(tmp_path / "whole.webm")) as source, av.open(Pipe(), "w", format="webm") as output:
            stream = output.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.duration is None
    assert known_duration_sec(utterance(tmp_path / "a.webm")) == pytest.approx(4.0, abs=0.1)
    samples, _ = read_samples(utterance(tmp_path / "a.webm"))
    assert len(samples) == pytest.approx(4 * RATE_HZ, abs=0.1 * RATE_HZ)


@pytest.mark.parametrize(
    "codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_s64le", "pcm_f32le", "pcm_f64le"]
)
def test_wav_of_any_depth_gives_the_same_samples(tmp_path, codec):
    sound = chirps(1.0)
    encode(tmp_path / "a.wav", sound, codec)
    samples, _ = read_samples(utterance(tmp_path / "a.wav"))
    assert np.abs(samples[:, 0] - sound).max() <= (0.01 if codec == "pcm_u8" else 1e-4)


def test_many_channels_of_which_one_speaks_give_its_level(tmp_path):
    channels = np.zeros((RATE_HZ, 8), np.float32)
    channels[:, 5] = chirps(1.0)
    soundfile.write(tmp_path / "a.wav", channels, RATE_HZ, subtype="FLOAT")
    samples = load_clip(utterance(tmp_path / "a.wav"), RATE_HZ, tail_sec=0.0).samples.numpy()
    assert samples.std() == pytest.approx(chirps(1.0).std(), rel=0.01)


def test_a_clip_of_integers_in_floating_point_is_refused_here_too(tmp_path):
    encode(tmp_path / "a.mka", chirps() * 30000, "pcm_f32le", "matroska")
    with pytest.raises(UnusableClip, match="holds integers as floating point"):
        load_clip(utterance(tmp_path / "a.mka"), RATE_HZ, 0.1)


def test_a_file_name_that_is_not_utf8_is_read(tmp_path):
    encode(tmp_path / "a.m4a", chirps(), "aac")
    path = Path(os.fsdecode(os.fsencode(tmp_path / "n") + b"\xff.m4a"))
    os.rename(tmp_path / "a.m4a", path)
    assert load_clip(utterance(path), RATE_HZ, 0.1).duration_sec == pytest.approx(4.0, abs=0.2)


def test_a_damaged_part_costs_itself_and_what_follows_keeps_its_time(tmp_path):
    encode(tmp_path / "a.m4a", chirps(), "aac")
    whole, _ = read_samples(utterance(tmp_path / "a.m4a"))
    content = bytearray((tmp_path / "a.m4a").read_bytes())
    content[len(content) // 3 : len(content) // 3 + 60] = bytes(range(200, 260 - 4)) + b"\xff\xff\xff\xff"
    (tmp_path / "a.m4a").write_bytes(content)
    samples, _ = read_samples(utterance(tmp_path / "a.m4a"))
    later = whole[3 * RATE_HZ : 7 * RATE_HZ // 2, 0]
    assert abs(lag_samples(later, samples[:, 0]) - 3 * RATE_HZ) < 0.03 * RATE_HZ
    assert len(samples) == pytest.approx(len(whole), abs=0.03 * RATE_HZ)


def test_a_file_that_breaks_off_is_refused(tmp_path):
    encode(tmp_path / "a.mka", chirps(), "pcm_s16le", "matroska")
    content = (tmp_path / "a.mka").read_bytes()
    (tmp_path / "a.mka").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnusableClip, match=r"breaks off after .* s of 4.0 s; copy it again"):
        read_samples(utterance(tmp_path / "a.mka"))


@pytest.mark.parametrize("content", [b"", b"not audio", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n"])
@pytest.mark.parametrize("name", ["a.m4a", "a.webm"])
def test_what_is_no_audio_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert known_duration_sec(utterance(tmp_path / name)) is None
    with pytest.raises(UnusableClip, match="cannot be read"):
        read_samples(utterance(tmp_path / name))


def test_a_film_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(UnusableClip, match="holds no audio"):
        read_samples(utterance(tmp_path / "a.mp4"))


def test_without_pyav_the_package_to_install_is_named(tmp_path, monkeypatch):
    encode(tmp_path / "a.m4a", chirps(1.0), "aac")
    (tmp_path / "a.wav").write_bytes(b"not audio")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UnusableClip, match=media.NOT_INSTALLED[:30]):
        read_samples(utterance(tmp_path / "a.m4a"))
    with pytest.raises(UnusableClip, match="Format not recognised"):
        read_samples(utterance(tmp_path / "a.wav"))
