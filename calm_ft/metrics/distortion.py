"""Against the true recording of the same text: distortion, pitch, voicing and pace, all along one alignment.

`mcd_db`, mel-cepstral distortion, step by step:
1. the silence at both ends is cut off (`audio_io.trim_silence`), the same way for both clips;
2. power spectra of 25 ms Hann windows every 12.5 ms, in 40 mel bands up to 8 kHz (or half the sampling rate, if
   lower), with a floor 60 dB below the clip's loudest band;
3. cepstra `c_m = 1/N sum_n ln(P_n) cos(pi m (n + 1/2) / N)`, m = 1..13, where P_n is the power in band n of N = 40.
   These are the coefficients of the minimum-phase filter whose log amplitude is `sum_m c_m cos(m w)`, on the mel
   scale. c_0, the level, is left out, so a gain changes nothing;
4. frames are aligned by dynamic time warping (steps of one frame in either or both, equal weights);
5. `MCD = (10 / ln 10) sqrt(2) * mean over the path of ||c - c'||`.

With the scaling of step 3 a frame's distance is the RMS difference, in dB, of the two cepstrally smoothed log
spectra.
Source of the constant: Kubichek, "Mel-cepstral distance measure for objective speech quality assessment" (1993).
Figures of other definitions (bands, cepstra from a vocoder, alignment) must not be compared with these.

- `log_f0_rmse`: over the pairs of frames on the alignment path where both are voiced, the root of the mean of `(1200
  log2(f / f'))^2`, in cents: 100 cents are a semitone, whatever the voice's pitch.
- `voicing_error`: the share of pairs on the path where one is voiced and the other is not.
- `duration_ratio`: clip / recording, silence at the ends cut off.

F0: WORLD's DIO refined by StoneMask (Morise et al., "Fast and reliable F0 estimation method based on the period
extraction of vocal fold vibration", 2009), through pyworld.
"""

import math
from typing import Self

import librosa
import numpy as np
import scipy.fft
import scipy.spatial.distance

from calm_ft.metrics.audio_io import AudioLike, trim_silence
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, ModelMissing, NotMeasured, SpeechClip

NUM_CEPSTRA = 13
HOP_SEC = 0.0125
DB_PER_CEPSTRAL_DISTANCE = 10 / math.log(10) * math.sqrt(2)

_WINDOW_SEC = 0.025
_NUM_MEL_BANDS = 40
_MAX_FREQUENCY_HZ = 8000.0
_FLOOR_DB = 60.0


def mel_cepstra(audio: AudioLike, sample_rate_hz: int) -> np.ndarray:
    """The cepstra c_1..c_13 of audio [T], [F, 13], 80 frames a second; F = 0 if it is empty or silent."""
    return speech_cepstra(trim_silence(audio, sample_rate_hz), sample_rate_hz)


def speech_cepstra(speech: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The same, [F, 13], of speech [T] whose ends are trimmed already (trimming again would take more)."""
    if not speech.size:
        return np.zeros((0, NUM_CEPSTRA))
    log_power = np.log(_mel_power(speech, sample_rate_hz))
    # scipy's DCT-II is 2 sum_n x_n cos(pi m (n + 1/2) / N).
    return scipy.fft.dct(log_power, type=2, axis=1)[:, 1 : NUM_CEPSTRA + 1] / (2 * _NUM_MEL_BANDS)


def dtw_distortion(cepstra_a: np.ndarray, cepstra_b: np.ndarray) -> float:
    """The MCD in dB between two sequences of cepstra, [F, 13] and [F', 13]; infinite if one has no frame."""
    if not len(cepstra_a) or not len(cepstra_b):
        return math.inf
    return path_distortion(*align(cepstra_a, cepstra_b))


def align(cepstra_a: np.ndarray, cepstra_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances [F, F'] of two sequences of at least one frame, and the path [P, 2] of step 4 above."""
    distance = scipy.spatial.distance.cdist(cepstra_a, cepstra_b)
    _, path = librosa.sequence.dtw(C=distance)
    return distance, np.asarray(path)


def path_distortion(distance: np.ndarray, path: np.ndarray) -> float:
    """The MCD in dB along an alignment's path."""
    return DB_PER_CEPSTRAL_DISTANCE * float(distance[path[:, 0], path[:, 1]].mean())


def mel_cepstral_distortion(reference: AudioLike, synthesized: AudioLike, sample_rate_hz: int) -> float:
    """The MCD in dB between two clips [T] and [T'] of one sentence; infinite if either is empty or silent."""
    return dtw_distortion(mel_cepstra(reference, sample_rate_hz), mel_cepstra(synthesized, sample_rate_hz))


def _mel_power(speech: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The floored power in each mel band, [F, 40]."""
    window_samples = round(_WINDOW_SEC * sample_rate_hz)
    fft_samples = 2 ** math.ceil(math.log2(window_samples))
    power = librosa.feature.melspectrogram(
        y=librosa.util.fix_length(speech, size=max(speech.size, fft_samples)),
        sr=sample_rate_hz,
        n_fft=fft_samples,
        win_length=window_samples,
        hop_length=round(HOP_SEC * sample_rate_hz),
        n_mels=_NUM_MEL_BANDS,
        fmax=min(_MAX_FREQUENCY_HZ, sample_rate_hz / 2),
        pad_mode="constant",
    ).T
    return np.maximum(power, power.max() * 10 ** (-_FLOOR_DB / 10))


ALIGNED_FIGURES = (
    Figure("mcd_db", "dB", "lower", "distance to the recording (MCD)"),
    Figure("duration_ratio", "ratio", "none", "length beside the recording's"),
)
PITCH_FIGURES = (
    Figure("log_f0_rmse", "cents", "lower", "pitch error"),
    Figure("voicing_error", "rate", "lower", "voicing error"),
)
_MIN_VOICED_PAIRS = 10  # an eighth of a second
_CENTS_PER_OCTAVE = 1200


class Distortion(Metric):
    """MCD and duration ratio."""

    figures = ALIGNED_FIGURES
    identity = "distortion-1"
    needs_reference = True

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls()

    def _measure(self, clip: SpeechClip) -> Measurement:
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

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls()

    def _measure(self, clip: SpeechClip) -> Measurement:
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


def _speech(clip: SpeechClip) -> tuple[np.ndarray, np.ndarray]:
    assert clip.reference is not None
    rate = clip.sample_rate_hz
    return trim_silence(clip.audio, rate), trim_silence(clip.reference, rate)
