"""Audio at the rate that a model was trained on."""

from math import gcd

import numpy as np
from scipy.signal import resample_poly

MODEL_RATE_HZ = 16_000


def at_model_rate(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Audio [T] at 16 kHz, float32 in [-1, 1] (resampling overshoots at clipped samples)."""
    divisor = gcd(sample_rate_hz, MODEL_RATE_HZ)
    resampled = resample_poly(audio, MODEL_RATE_HZ // divisor, sample_rate_hz // divisor)
    return np.clip(resampled, -1.0, 1.0).astype(np.float32)
