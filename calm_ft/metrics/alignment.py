"""Against the true recording of the same text: distortion, pitch, voicing and pace, all along one alignment.

- `mcd_db`: as `evaluation.mcd` defines it.
- `log_f0_rmse`: over the pairs of frames on the alignment path where both are voiced, the root of the mean of
  `(1200 log2(f / f'))^2`, in cents: 100 cents are a semitone, whatever the voice's pitch.
- `voicing_error`: the share of pairs on the path where one is voiced and the other is not.
- `duration_ratio`: clip / recording, silence at the ends cut off.
F0: WORLD's DIO refined by StoneMask (Morise et al., "Fast and reliable F0 estimation method based on the period
extraction of vocal fold vibration", 2009), through pyworld.
"""

import numpy as np

from calm_ft.metrics.audio_io import trim_silence
from calm_ft.metrics.base import Clip, Figure, Measurement, Metric, ModelMissing, NotMeasured
from calm_ft.metrics.mcd import HOP_SEC, align, path_distortion, speech_cepstra

ALIGNED_FIGURES = (
    Figure("mcd_db", "dB", "lower"),
    Figure("duration_ratio", "ratio", "none"),
)
PITCH_FIGURES = (
    Figure("log_f0_rmse", "cents", "lower"),
    Figure("voicing_error", "rate", "lower"),
)
_MIN_VOICED_PAIRS = 10  # an eighth of a second
_CENTS_PER_OCTAVE = 1200


class Distortion(Metric):
    """MCD and duration ratio."""

    figures = ALIGNED_FIGURES
    identity = "distortion-1"
    needs_reference = True

    def _measure(self, clip: Clip) -> Measurement:
        speech, reference = _speech(clip)
        rate = clip.sample_rate_hz
        distance, path = align(speech_cepstra(speech, rate), speech_cepstra(reference, rate))
        return {
            "mcd_db": path_distortion(distance, path),
            "duration_ratio": speech.size / reference.size,
        }


class Pitch(Metric):
    """Log-F0 error and voicing error."""

    figures = PITCH_FIGURES
    identity = "pitch-1"
    needs_reference = True

    def __init__(self) -> None:
        """Raises ModelMissing where pyworld is not installed."""
        try:
            import pyworld
        except ImportError as error:
            raise ModelMissing("pyworld is not installed: install the extra `evaluation`.") from error
        self._world = pyworld

    def _measure(self, clip: Clip) -> Measurement:
        speech, reference = _speech(clip)
        rate = clip.sample_rate_hz
        _, path = align(speech_cepstra(speech, rate), speech_cepstra(reference, rate))
        pairs = self._f0_hz(speech, rate), self._f0_hz(reference, rate)
        path = path[(path[:, 0] < len(pairs[0])) & (path[:, 1] < len(pairs[1]))]
        f0_hz, true_f0_hz = pairs[0][path[:, 0]], pairs[1][path[:, 1]]
        both = (f0_hz > 0) & (true_f0_hz > 0)
        error: float | NotMeasured = NotMeasured("clip and recording have hardly a voiced sound in common")
        if both.sum() >= _MIN_VOICED_PAIRS:
            cents = _CENTS_PER_OCTAVE * np.log2(f0_hz[both] / true_f0_hz[both])
            error = float(np.sqrt(np.mean(np.square(cents))))
        return {"log_f0_rmse": error, "voicing_error": float(np.mean((f0_hz > 0) != (true_f0_hz > 0)))}

    def _f0_hz(self, speech: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """F0 [F] on the cepstra's time grid, 0 where there is none."""
        rough, times = self._world.dio(speech, sample_rate_hz, frame_period=1000 * HOP_SEC)
        return np.asarray(self._world.stonemask(speech, rough, times, sample_rate_hz))


def _speech(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    assert clip.reference is not None
    rate = clip.sample_rate_hz
    return trim_silence(clip.audio, rate), trim_silence(clip.reference, rate)
