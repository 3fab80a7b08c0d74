"""Mel-cepstral distortion (MCD) between a recording and a synthesis of the same sentence, in dB.

Definition, step by step:
1. the silence at both ends is cut off (`audio_io.trim_silence`), the same way for both clips;
2. power spectra of 25 ms Hann windows every 12.5 ms, in 40 mel bands up to 8 kHz (or half the sampling rate,
   if lower), with a floor 60 dB below the clip's loudest band;
3. cepstra `c_m = 1/N sum_n ln(P_n) cos(pi m (n + 1/2) / N)`, m = 1..13, where P_n is the power in band n of N
   = 40. These are the coefficients of the minimum-phase filter whose log amplitude is `sum_m c_m cos(m w)`,
   on the mel scale; c_0, the level, is left out, so a gain changes nothing;
4. frames are aligned by dynamic time warping (steps of one frame in either or both, equal weights);
5. `MCD = (10 / ln 10) sqrt(2) * mean over the path of ||c - c'||`.

With the scaling of 3 a frame's distance is the RMS difference, in dB, of the two cepstrally smoothed log
spectra. Source: Kubichek, "Mel-cepstral distance measure for objective speech quality assessment" (1993),
whose constant this is. Figures of different definitions (bands, cepstra from a vocoder, alignment) must not
be compared.
"""

import math

import librosa
import numpy as np
import scipy.fft
import scipy.spatial.distance

from calm_ft.metrics.audio_io import AudioLike, trim_silence

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
