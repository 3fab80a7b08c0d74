"""Audio at the edge of the evaluation: mono float arrays in, levels and 16-bit files out.

Convention: audio is [T] in [-1, 1]; levels are RMS in dB relative to full scale (dBFS), a full-scale square
wave being 0 dBFS. Files are written beside their place and moved into it, so that a killed run never leaves
half of one.
"""

import io
import math
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy.signal import resample_poly

from calm_ft.atomic_file import atomic_path

AudioLike = np.ndarray | torch.Tensor

SILENCE_DBFS = -60.0
"""Audio whose loudest 20 ms stay under this level says nothing."""

_ENVELOPE_SEC = 0.02
_TRIM_DB = 40.0


def as_mono(audio: AudioLike) -> np.ndarray:
    """The audio as a finite float64 array [T]; [1, T] is accepted, and samples that are no number become 0.

    Raises ValueError for audio with more than one channel.
    """
    array = audio.detach().cpu().numpy() if isinstance(audio, torch.Tensor) else np.asarray(audio)
    if array.ndim > 1 and array.size != array.shape[-1]:
        raise ValueError(f"audio must be mono, [T] or [1, T], and has shape {list(array.shape)}")
    return np.nan_to_num(array.reshape(-1).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def is_silent(audio: AudioLike, sample_rate_hz: int) -> bool:
    """Whether audio [T] is empty or nowhere louder than SILENCE_DBFS over 20 ms."""
    return _to_db(float(_power_envelope(as_mono(audio), sample_rate_hz).max())) < SILENCE_DBFS


def trim_silence(audio: AudioLike, sample_rate_hz: int) -> np.ndarray:
    """Audio [T] without what lies at its ends more than 40 dB below its loudest 20 ms; empty if it is silent.

    The threshold is relative to the clip and found to the sample, so neither a gain nor silence put before or
    after changes what is kept.
    """
    mono = as_mono(audio)
    if is_silent(mono, sample_rate_hz):
        return mono[:0]
    envelope = _power_envelope(mono, sample_rate_hz)
    loud = np.flatnonzero(envelope >= envelope.max() * 10 ** (-_TRIM_DB / 10))
    width = envelope.size - mono.size + 1
    # The first window that is loud has its newest sample to thank for it, the last one its oldest.
    start, end = sorted((int(loud[0]), int(loud[-1]) - width + 1))
    return mono[start : end + 1]


def write_wav(path: str | Path, audio: AudioLike, sample_rate_hz: int) -> None:
    """Write audio [T] as a 16-bit WAV file, clipped to [-1, 1], atomically; folders are made as needed."""
    content = wav_bytes(audio, sample_rate_hz)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def wav_bytes(audio: AudioLike, sample_rate_hz: int) -> bytes:
    """The content of a 16-bit WAV file of audio [T], clipped to [-1, 1]."""
    content = io.BytesIO()  # on a full disk libsndfile raises errors of its own, or none
    soundfile.write(content, np.clip(as_mono(audio), -1.0, 1.0), sample_rate_hz, "PCM_16", format="WAV")
    return content.getvalue()


def read_wav_bytes(content: bytes) -> np.ndarray:
    """The audio [T] of a mono WAV file's content."""
    return np.asarray(soundfile.read(io.BytesIO(content))[0])


def _power_envelope(mono: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The mean power of 20 ms windows, [T + width - 1]: window n ends with sample n, past the ends is 0."""
    width = max(1, round(_ENVELOPE_SEC * sample_rate_hz))
    total = np.cumsum(np.pad(np.square(mono), (width, width - 1)))
    # Where both sums are large their difference may fall below zero by rounding.
    return np.maximum(total[width:] - total[:-width], 0.0) / width


def _to_db(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf


MODEL_RATE_HZ = 16_000


def at_model_rate(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Audio [T] at 16 kHz, float32 in [-1, 1]."""
    return resampled(audio, sample_rate_hz, MODEL_RATE_HZ).astype(np.float32)


def resampled(audio: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Audio [T] in [-1, 1] at another rate, cut off there, for resampling overshoots at clipped samples."""
    if from_hz == to_hz or not audio.size:
        return audio
    divisor = gcd(from_hz, to_hz)
    return np.clip(resample_poly(audio, to_hz // divisor, from_hz // divisor), -1.0, 1.0)
