"""Which sentence, and whose voice: the nearest recording or voice on a list.

Sentences. The recording of the true sentence should be the nearest of all. The distance is the MCD along the best
alignment (`distortion.dtw_distortion`), a mean over the path and so independent of length. Each clip's own mean
cepstrum is subtracted first: that removes most of the voice and leaves what changes over time, the words. Chance is
one in the number of candidates.

Voices. A clip is described by 19 statistics: the mean of each mel cepstrum c_1..c_13 over its loud frames, the
standard deviation of c_1..c_4, median F0 and its spread, in semitones. A voice is the mean over its clips. The
distance is Euclidean after each statistic is divided by `sqrt(w^2 + b^2 / 4)`: w is its standard deviation among
clips of one voice, pooled over the voices, b its deviation among the voices. Three choices matter:

- Deviations of higher cepstra are left out, because a codec smooths the fine spectrum over time; with them even a
  good copy is taken for another voice.
- The term in b keeps a statistic that hardly varies within one synthetic voice from deciding alone.
- The spread of F0 is a median absolute deviation, because YIN's octave errors ruin a standard deviation.

Identification tells the voices on the list apart. It measures no likeness, and near copies on the list are confused.
The rates of recordings, and of a codec's copies of them, are the ceiling for a synthesis.
F0: de Cheveigné and Kawahara, "YIN" (2002).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import librosa
import numpy as np

from calm_ft.metrics.audio_io import AudioLike, trim_silence
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, ModelMissing, NotMeasured, SpeechClip
from calm_ft.metrics.distortion import HOP_SEC, NUM_CEPSTRA, dtw_distortion, mel_cepstra, speech_cepstra


def identify_sentence(synthesized_cepstra: np.ndarray, candidates: Sequence[np.ndarray]) -> int:
    """The index of the candidate nearest to the synthesis, both cepstra [F, 13] from `mel_cepstra`.

    Raises ValueError if there is no candidate, or no frame of the synthesis (it is silent) to compare with
    them.
    """
    if not candidates:
        raise ValueError("sentence identification needs at least one candidate recording")
    if not len(synthesized_cepstra):
        raise ValueError("a silent clip says no sentence")
    synthesized = _without_mean(synthesized_cepstra)
    return int(np.argmin([dtw_distortion(synthesized, _without_mean(candidate)) for candidate in candidates]))


def _without_mean(cepstra: np.ndarray) -> np.ndarray:
    return cepstra - cepstra.mean(axis=0) if len(cepstra) else cepstra


_NUM_DEVIATIONS = 4
NUM_STATISTICS = NUM_CEPSTRA + _NUM_DEVIATIONS + 2

_F0_MIN_HZ, _F0_MAX_HZ = 60.0, 500.0
_F0_WINDOW_SEC = 0.064
_YIN_THRESHOLD = 0.1
_LOUD = 0.1
_BETWEEN_VOICES_SHARE = 0.5
_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True)
class VoiceReferences:
    """Voices to choose from: names, their mean statistics [V, 19] and the unit of each statistic [19]."""

    names: tuple[str, ...]
    means: np.ndarray
    scale: np.ndarray

    @classmethod
    def from_clips(cls, voices: Mapping[str, Sequence[AudioLike]], sample_rate_hz: int) -> "VoiceReferences":
        """Measure several clips [T] of each voice.

        Raises ValueError with fewer than two voices, or a voice with fewer than two clips that can be heard.
        """
        if len(voices) < 2:
            raise ValueError(f"voice identification needs at least two voices to choose from, and got {len(voices)}")
        means, deviations = [], []
        for name, clips in voices.items():
            described = [voice_statistics(clip, sample_rate_hz) for clip in clips]
            statistics = np.array([row for row in described if row is not None])
            if len(statistics) < 2:
                raise ValueError(f"voice '{name}' needs at least two clips that can be heard to be identified by")
            means.append(statistics.mean(axis=0))
            deviations.append(statistics - means[-1])
        within = np.concatenate(deviations)
        variance = np.square(within).sum(axis=0) / (len(within) - len(voices))
        variance += np.square(_BETWEEN_VOICES_SHARE * np.std(means, axis=0))
        return cls(tuple(voices), np.array(means), np.maximum(np.sqrt(variance), _SMALLEST_SCALE))

    def identify(self, audio: AudioLike, sample_rate_hz: int) -> str | None:
        """The name of the voice nearest to audio [T]; None if it is empty or silent."""
        statistics = voice_statistics(audio, sample_rate_hz)
        if statistics is None:
            return None
        return self.names[int(np.argmin(np.linalg.norm((self.means - statistics) / self.scale, axis=1)))]


def voice_statistics(audio: AudioLike, sample_rate_hz: int) -> np.ndarray | None:
    """The 19 statistics of audio [T]; None if it is empty or silent."""
    speech = trim_silence(audio, sample_rate_hz)
    if not speech.size:
        return None
    cepstra = speech_cepstra(speech, sample_rate_hz)
    f0_semitones, loud = _pitch(speech, sample_rate_hz)
    cepstra = cepstra[: len(loud)][loud[: len(cepstra)]]
    median = np.median(f0_semitones[loud])
    spread = np.median(np.abs(f0_semitones[loud] - median))
    deviations = cepstra[:, :_NUM_DEVIATIONS].std(axis=0)
    return np.concatenate([cepstra.mean(axis=0), deviations, [median, spread]])


def _pitch(speech: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """F0 in semitones above 100 Hz and a mask of the loud frames, [F] each, on the cepstra's time grid."""
    window_samples, hop_samples = round(_F0_WINDOW_SEC * sample_rate_hz), round(HOP_SEC * sample_rate_hz)
    f0_hz = yin(speech, sample_rate_hz, window_samples, hop_samples)
    rms = librosa.feature.rms(y=speech, frame_length=window_samples, hop_length=hop_samples)[0]
    return 12 * np.log2(f0_hz / 100), rms > _LOUD * rms.max()


def yin(speech: np.ndarray, sample_rate_hz: int, window_samples: int, hop_samples: int) -> np.ndarray:
    """F0 in Hz, between 60 and 500, of speech [T] in windows centred on each hop: [F], unvoiced frames included.

    The result of `librosa.yin`, which is not called: numba's cache keeps the two halves of its compiled loop
    under names that are counted per process. Where two processes compile it at the same time (the jobs of a sweep,
    say), the cache can hold halves that do not fit, and from then on every call ends the process (SIGSEGV).

    Source: de Cheveigné and Kawahara, "YIN" (2002), steps 2 to 5.
    """
    shortest, longest = (
        int(sample_rate_hz / _F0_MAX_HZ),
        min(math.ceil(sample_rate_hz / _F0_MIN_HZ), window_samples - 1),
    )
    padded = np.pad(speech.astype(np.float64), window_samples // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[::hop_samples]
    spectrum = np.fft.rfft(frames, 2 * window_samples)
    autocorrelation = np.fft.irfft(np.square(spectrum.real) + np.square(spectrum.imag))
    lags = slice(1, longest + 1)
    energy_left_out = np.cumsum(np.square(frames[:, :longest]), axis=1)
    difference = 2 * (autocorrelation[:, :1] - autocorrelation[:, lags]) - energy_left_out
    mean_so_far = np.cumsum(difference, axis=1) / np.arange(1, longest + 1)
    normalized = (difference / (mean_so_far + np.finfo(np.float64).tiny))[:, shortest - 1 :]
    lag = _first_deep_trough(normalized)
    return sample_rate_hz / (shortest + lag + _parabolic_shift(normalized, lag))


def _first_deep_trough(normalized: np.ndarray) -> np.ndarray:
    """The first local minimum of each row [F, L] that lies below the threshold, else the least value's place: [F]."""
    later = np.pad(normalized[:, 1:], ((0, 0), (0, 1)), mode="edge")
    earlier = np.pad(normalized[:, :-1], ((0, 0), (1, 0)), constant_values=np.inf)
    deep = (normalized < earlier) & (normalized <= later) & (normalized < _YIN_THRESHOLD)
    deep[:, 0] &= normalized[:, 0] < normalized[:, 1]
    return np.where(deep.any(axis=1), deep.argmax(axis=1), normalized.argmin(axis=1))


def _parabolic_shift(normalized: np.ndarray, lag: np.ndarray) -> np.ndarray:
    """How far the minimum of a parabola through three neighbours lies from `lag` [F]; 0 at the edges or beyond +-1."""
    inner = np.clip(lag, 1, normalized.shape[1] - 2)
    rows = np.arange(len(lag))
    before, here, after = (normalized[rows, inner + step] for step in (-1, 0, 1))
    curvature, slope = after + before - 2 * here, (after - before) / 2
    usable = (lag == inner) & (np.abs(slope) < np.abs(curvature))
    return np.where(usable, -slope / np.where(usable, curvature, 1.0), 0.0)


SENTENCE_FIGURE = Figure("sentence_identified", "rate", "higher", "right sentence is the nearest", trusted_by_codec=0.7)


class SentenceIdentified(Metric):
    """1 where the nearest of the listed recordings is that of the clip's text, else 0; silence says none of them."""

    figures = (SENTENCE_FIGURE,)
    needs_speech = False

    def __init__(self, recordings: Mapping[str, np.ndarray], sample_rate_hz: int) -> None:
        """`recordings`: text -> its recording [T], none of them silent; chance is one in their number."""
        self._texts = list(recordings)
        self._cepstra = [mel_cepstra(audio, sample_rate_hz) for audio in recordings.values()]
        digest = hashlib.sha256()
        for text, cepstra in zip(self._texts, self._cepstra, strict=True):
            digest.update(text.encode() + cepstra.tobytes())
        self.identity = f"sentence-1 {digest.hexdigest()}"

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls(given.recordings, given.sample_rate_hz)

    def for_voice(self, voice: str, prompt: np.ndarray, sample_rate_hz: int) -> None:
        """Each voice has another list of sentences, so the rates would not compare."""

    def _measure(self, clip: SpeechClip) -> Measurement:
        if clip.text not in self._texts or len(self._texts) < 2:
            return {SENTENCE_FIGURE.name: NotMeasured("there are no two recordings to choose from")}
        cepstra = mel_cepstra(clip.audio, clip.sample_rate_hz)
        right = len(cepstra) > 0 and self._texts[identify_sentence(cepstra, self._cepstra)] == clip.text
        return {SENTENCE_FIGURE.name: float(right)}


VOICE_FIGURE = Figure("voice_identified", "rate", "higher", "right voice is the nearest", trusted=0.6)


class VoiceIdentified(Metric):
    """1 where the nearest of the known voices is the one that was asked for, else 0; silence is nobody's voice."""

    figures = (VOICE_FIGURE,)
    needs_speech = False

    def __init__(self, voices: VoiceReferences, voice: str) -> None:
        """`voice`: the one of `voices` that clips should sound like; chance is one in their number."""
        self._voices, self._voice = voices, voice
        digest = hashlib.sha256(voices.means.tobytes() + voices.scale.tobytes()).hexdigest()
        self.identity = f"voice-1 {voice} {digest}"

    @classmethod
    def build(cls, given: Given) -> Self:
        clips = dict(given.other_voices)
        if given.voice not in clips or len(clips) < 2:
            raise ModelMissing("no other voice is known that this one could be taken for: set evaluation.base_voices.")
        try:
            return cls(VoiceReferences.from_clips(clips, given.sample_rate_hz), given.voice)
        except ValueError as error:
            raise ModelMissing(f"the voices cannot be told apart: {error}.") from error

    def for_voice(self, voice: str, prompt: np.ndarray, sample_rate_hz: int) -> "VoiceIdentified | None":
        return VoiceIdentified(self._voices, voice) if voice in self._voices.names else None

    def _measure(self, clip: SpeechClip) -> Measurement:
        return {VOICE_FIGURE.name: float(self._voices.identify(clip.audio, clip.sample_rate_hz) == self._voice)}
