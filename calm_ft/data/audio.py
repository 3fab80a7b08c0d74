"""From an audio file to the input of a codec: mono, at the codec's rate, with a fixed silence at the end.

Convention: float32 samples as recorded, neither normalised in loudness nor clipped. Silence is audio more than 35 dB
below the loudest 20 ms. The silence at the end has a fixed length because a model learns from it when to stop; it
cannot learn that from clips of which some end at once and others in seconds of room noise. Resampling is
`scipy.signal.resample_poly`, as upstream does with prompts (pocket_tts/data/audio_utils.py). libsndfile reads what it
can; PyAV reads the rest (media.py).
"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from calm_ft.data.media import NOT_INSTALLED, MediaFile
from calm_ft.data.utterance import UnusableClip, Utterance, printable

__all__ = [
    "AUDIO_PREPARATION_VERSION",
    "Clip",
    "UnusableClip",
    "known_duration_sec",
    "load_clip",
    "mix_down",
    "read_samples",
    "recorded_duration_sec",
]

log = logging.getLogger(__name__)

# Part of every cache's fingerprint; raise it with each change here that changes samples.
AUDIO_PREPARATION_VERSION = 1

FRAME_SEC = 0.02
SILENCE_BELOW_LOUDEST_DB = 35.0
# What libsndfile reads; a file that it refuses under another suffix is PyAV's.
SOUND_FILE_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".oga")
SILENT_PEAK = 1e-3  # -60 dBFS
MAX_PEAK = 8.0  # 18 dB over full scale, which no mix of a recording reaches
MIN_SPEECH_SEC = 0.2
# Headers and segment lists round their times: a segment that ends this much after its file is cut to the file's end.
SEGMENT_TOLERANCE_SEC = 0.25
# Decoding begins this much before a segment, because mp3 frames need data from earlier frames.
SEEK_LEAD_SEC = 1.0
# Averaging independent channels keeps about 0.7 of the louder one's level; less than this is cancellation.
CANCELLATION_RATIO = 0.25

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """One utterance's prepared audio: samples `[T]`, float32, mono."""

    utterance: Utterance
    samples: torch.Tensor
    sample_rate_hz: int

    @property
    def duration_sec(self) -> float:
        """Length of the prepared audio."""
        return len(self.samples) / self.sample_rate_hz


def load_clip(utterance: Utterance, sample_rate_hz: int, tail_sec: float) -> Clip:
    """Reads, mixes down, resamples and trims one clip.

    The silence after the speech becomes exactly `tail_sec` long, filled with zeros if the file ends sooner. Longer
    silence before the speech is cut to the same length, unless the utterance has word times, which count from its
    first sample. A segment contains no sample from outside its start and end.

    Raises:
        UnusableClip: the audio cannot be decoded, has no samples, is not finite, is silent, is far over full scale or
            has less than 0.2 s of speech, or the segment is not within its file.
    """
    recorded, recorded_rate_hz = read_samples(utterance)
    mono = mix_down(recorded)
    if np.abs(mono - mono.mean()).max() < SILENT_PEAK:
        raise UnusableClip("the audio is silent")
    peak = np.abs(mono).max()
    if peak > MAX_PEAK:
        raise UnusableClip(
            f"the samples reach {peak:.0f}, where 1 is full scale: the file holds integers as floating point; save it "
            "as 16-bit, or divide its samples by 32768"
        )
    samples = _resample(mono, recorded_rate_hz, sample_rate_hz)
    start, end = _speech_bounds(samples, sample_rate_hz)
    if end - start < MIN_SPEECH_SEC * sample_rate_hz:
        raise UnusableClip(f"the audio holds less than {MIN_SPEECH_SEC} s of speech")
    tail = round(tail_sec * sample_rate_hz)
    first = 0 if utterance.words else max(0, start - tail)
    last = end + tail
    padded = np.pad(samples[first:last], (0, max(0, last - len(samples))))
    return Clip(utterance, torch.from_numpy(padded), sample_rate_hz)


def recorded_duration_sec(utterance: Utterance) -> float:
    """Length of the file or segment according to the file's header, without decoding.

    Raises:
        UnusableClip: the file cannot be opened, or the segment is not within it.
    """
    with _opened(utterance) as file:
        first, last = _sample_range(utterance, file.frames, file.samplerate)
        return float(last - first) / file.samplerate


def known_duration_sec(utterance: Utterance) -> float | None:
    """`recorded_duration_sec`, None where the file or segment cannot be read."""
    try:
        return recorded_duration_sec(utterance)
    except UnusableClip:
        return None


def read_samples(utterance: Utterance) -> tuple[Samples, int]:
    """Samples `[T, C]` of the file or segment as recorded, and their rate in Hz.

    Raises:
        UnusableClip: the audio cannot be decoded, has no samples or is not finite, or the segment is not within its
            file.
    """
    with _opened(utterance) as file:
        rate_hz = file.samplerate
        first, last = _sample_range(utterance, file.frames, rate_hz)
        if isinstance(file, MediaFile):
            samples = file.read(first, last)
        else:
            samples = _read_sound_file(file, first, last, utterance.is_segment)
    if len(samples) == 0:
        raise UnusableClip("the audio has no samples")
    if not np.isfinite(samples).all():
        raise UnusableClip("the audio holds NaN or infinite samples")
    return samples, rate_hz


def mix_down(samples: Samples) -> Samples:
    """Mean `[T]` of the channels, or the loudest channel if they cancel each other (reversed polarity)."""
    mean = samples.mean(axis=1)
    levels = samples.std(axis=0)
    loudest = int(levels.argmax())
    return mean if mean.std() >= CANCELLATION_RATIO * levels[loudest] else samples[:, loudest]


def _read_sound_file(file: soundfile.SoundFile, first: int, last: int, is_segment: bool) -> Samples:
    # Some codecs (GSM 6.10) cannot seek; then everything before the segment is decoded too.
    lead = min(first, round(SEEK_LEAD_SEC * file.samplerate)) if file.seekable() else first
    if is_segment and file.seekable():
        file.seek(first - lead)
    return file.read(lead + last - first, dtype="float32", always_2d=True)[lead:]


@contextmanager
def _opened(utterance: Utterance) -> Iterator[soundfile.SoundFile | MediaFile]:
    """The open file; whatever the decoder raises, on opening or in the block, becomes an `UnusableClip`."""
    try:
        with _decoder_messages_to_log(printable(utterance.audio_path)), _open(utterance.audio_path) as file:
            yield file
    except UnusableClip:
        raise
    except Exception as error:  # any: a broken file can make the decoder fail in any way
        raise UnusableClip(f"the audio cannot be read ({_decoder_fault(error)})") from error


def _open(path: Path) -> soundfile.SoundFile | MediaFile:
    # Bytes, because soundfile encodes strictly and file names need not be valid UTF-8.
    name = path if os.name == "nt" else os.fsencode(path)
    try:
        return soundfile.SoundFile(name)
    except soundfile.LibsndfileError as fault:
        if not os.path.isfile(path):
            raise
        try:
            return MediaFile(path)
        except UnusableClip as media_fault:
            # Only the name tells whether PyAV, which is not installed, would have read the file.
            if str(media_fault) == NOT_INSTALLED and path.suffix.lower() in SOUND_FILE_SUFFIXES:
                raise fault from None
            raise
        except Exception:  # any: see _opened
            raise fault from None


@contextmanager
def _decoder_messages_to_log(name: str) -> Iterator[None]:
    """Sends what the mp3 decoder prints to the debug log, with the file's name.

    mpg123 writes notes such as "Xing stream size off by more than 1%" straight to file descriptor 2, without saying
    which file they are about.
    """
    if not name.lower().endswith(".mp3"):
        yield
        return
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # no stderr, nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            messages.seek(0)
            for line in messages.read().decode(errors="replace").split("\n"):
                if line.strip():
                    log.debug("%s: %s", name, line.strip())


def _decoder_fault(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        return error.error_string.rstrip(".")
    return (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"


def _sample_range(utterance: Utterance, num_samples: int, rate_hz: int) -> tuple[int, int]:
    """First sample and end of the utterance within its file of `num_samples` samples."""
    first = round(utterance.start_sec * rate_hz)
    last = num_samples if utterance.end_sec is None else round(utterance.end_sec * rate_hz)
    if utterance.is_segment and not 0 <= first < last <= num_samples + SEGMENT_TOLERANCE_SEC * rate_hz:
        segment = f"{first / rate_hz:.2f} to {last / rate_hz:.2f} s"
        raise UnusableClip(f"the segment from {segment} is not within the audio of {num_samples / rate_hz:.2f} s")
    return first, min(last, num_samples)


def _resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    if from_hz == to_hz:
        return samples
    divisor = gcd(from_hz, to_hz)
    return resample_poly(samples, to_hz // divisor, from_hz // divisor).astype(np.float32)


def _speech_bounds(samples: Samples, sample_rate_hz: int) -> tuple[int, int]:
    """First sample of the first frame and end of the last frame that are not silent.

    The mean is subtracted first: with the constant offset of a cheap microphone no frame would be silent.
    """
    frame_len = round(FRAME_SEC * sample_rate_hz)
    num_frames = -(-len(samples) // frame_len)
    centred = np.pad(samples - samples.mean(), (0, num_frames * frame_len - len(samples)))
    energies = np.square(centred.reshape(num_frames, frame_len)).mean(axis=1)
    loud = np.flatnonzero(energies >= energies.max() * 10 ** (-SILENCE_BELOW_LOUDEST_DB / 10))
    return int(loud[0]) * frame_len, min((int(loud[-1]) + 1) * frame_len, len(samples))
