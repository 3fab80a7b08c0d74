"""From an audio file to what a codec is given: mono, at its rate, with a fixed silence at the end.

Convention: float32 samples as recorded, neither normalised in loudness nor clipped. Silence is what lies more
than 35 dB under the loudest 20 ms. The tail is fixed because a model learns from it when to stop: clips that
end now at once, now in seconds of room noise, teach it nothing. Resampling is `scipy.signal.resample_poly`,
as upstream does with prompts (pocket_tts/data/audio_utils.py).
"""

from dataclasses import dataclass
from math import gcd

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from calm_ft.data.utterance import Utterance

# Part of every cache's fingerprint: to be raised with each change here that changes samples.
AUDIO_PREPARATION_VERSION = 1

FRAME_SEC = 0.02
SILENCE_BELOW_LOUDEST_DB = 35.0
SILENT_PEAK = 1e-3  # -60 dBFS
MIN_SPEECH_SEC = 0.2
# Headers and segment lists round: a segment may end this much behind its file, and ends with it then.
SEGMENT_TOLERANCE_SEC = 0.25
# Decoding begins this much before a segment: mp3 frames draw on bits of earlier ones, and sound wrong without.
SEEK_LEAD_SEC = 1.0
# Averaging independent channels keeps about 0.7 of the louder one's level; less than this is cancellation.
CANCELLATION_RATIO = 0.25

Samples = NDArray[np.float32]


class UnusableClip(Exception):  # noqa: N818 - a verdict on the clip, caught clip by clip
    """Audio that nothing can be trained on; the message is the reason for an `Exclusion`."""


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

    The silence after the speech becomes exactly `tail_sec`, zeros where the file ends sooner. Longer silence
    before the speech is cut to as much, unless the utterance has word times, which count from its first
    sample. Of a segment, nothing before its start or after its end is heard.

    Raises:
        UnusableClip: unreadable, without samples, not finite, silent, with less than 0.2 s of speech, or a
            segment that its file does not hold.
    """
    recorded, recorded_rate_hz = _read(utterance)
    mono = _mix_down(recorded)
    if np.abs(mono - mono.mean()).max() < SILENT_PEAK:
        raise UnusableClip("the audio is silent")
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
    """Length of the file, or of the segment of it, by the header, nothing decoded.

    Raises UnusableClip for an unreadable file and for a segment that it does not hold.
    """
    try:
        with soundfile.SoundFile(utterance.audio_path) as file:
            first, last = _sample_range(utterance, file.frames, file.samplerate)
            return float(last - first) / file.samplerate
    except (soundfile.SoundFileError, OSError):
        raise UnusableClip("the audio cannot be read") from None


def _read(utterance: Utterance) -> tuple[Samples, int]:
    """Samples `[T, channels]` of the utterance and their rate."""
    try:
        with soundfile.SoundFile(utterance.audio_path) as file:
            rate_hz = file.samplerate
            if utterance.is_segment:
                first, last = _sample_range(utterance, file.frames, rate_hz)
                lead = min(first, round(SEEK_LEAD_SEC * rate_hz))
                file.seek(first - lead)
                samples = file.read(lead + last - first, dtype="float32", always_2d=True)[lead:]
            else:
                samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError):
        raise UnusableClip("the audio cannot be read") from None
    if len(samples) == 0:
        raise UnusableClip("the audio has no samples")
    if not np.isfinite(samples).all():
        raise UnusableClip("the audio holds NaN or infinite samples")
    return samples, rate_hz


def _sample_range(utterance: Utterance, num_samples: int, rate_hz: int) -> tuple[int, int]:
    """First sample and end of the utterance within its file of `num_samples`."""
    first = round(utterance.start_sec * rate_hz)
    last = num_samples if utterance.end_sec is None else round(utterance.end_sec * rate_hz)
    if utterance.is_segment and not 0 <= first < last <= num_samples + SEGMENT_TOLERANCE_SEC * rate_hz:
        segment = f"{first / rate_hz:.2f} to {last / rate_hz:.2f} s"
        raise UnusableClip(f"the segment from {segment} is not within the audio of {num_samples / rate_hz:.2f} s")
    return first, min(last, num_samples)


def _mix_down(samples: Samples) -> Samples:
    """Mean of the channels; the loudest one where they cancel each other (reversed polarity)."""
    mean = samples.mean(axis=1)
    levels = samples.std(axis=0)
    loudest = int(levels.argmax())
    return mean if mean.std() >= CANCELLATION_RATIO * levels[loudest] else samples[:, loudest]


def _resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    if from_hz == to_hz:
        return samples
    divisor = gcd(from_hz, to_hz)
    return resample_poly(samples, to_hz // divisor, from_hz // divisor).astype(np.float32)


def _speech_bounds(samples: Samples, sample_rate_hz: int) -> tuple[int, int]:
    """First sample of the first frame and end of the last frame that are not silence.

    Levels are taken about the mean: with a constant offset, as cheap microphones have it, no frame would be
    silent.
    """
    frame_len = round(FRAME_SEC * sample_rate_hz)
    num_frames = -(-len(samples) // frame_len)
    centred = np.pad(samples - samples.mean(), (0, num_frames * frame_len - len(samples)))
    energies = np.square(centred.reshape(num_frames, frame_len)).mean(axis=1)
    loud = np.flatnonzero(energies >= energies.max() * 10 ** (-SILENCE_BELOW_LOUDEST_DB / 10))
    return int(loud[0]) * frame_len, min((int(loud[-1]) + 1) * frame_len, len(samples))
