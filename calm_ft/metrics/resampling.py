"""Audio at the rate that a model was trained on."""

from math import gcd

import numpy as np
from scipy.signal import resample_poly

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
