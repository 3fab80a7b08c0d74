"""What a metric is, and the only way in which one is asked.

Convention: a metric gives numbers, or says in one sentence why it has none for this clip; it never gives NaN,
infinity, or a zero that stands for "unknown". A metric whose model cannot be had is not built at all: its
constructor raises `ModelMissing`, and the reason is reported in its place.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from calm_ft.metrics.audio_io import is_silent

Direction = Literal["lower", "higher", "none"]
MIN_SPEECH_SEC = 0.1


class ModelMissing(Exception):  # noqa: N818 - a state of the machine, reported in the metric's place
    """The model under a metric cannot be had; the message is one sentence that says why and what would help."""


@dataclass(frozen=True)
class Figure:
    """One number that is measured, and all that is known of it before it is.

    Attributes:
        name: by which settings, files and tables know it, such as `cer`.
        unit: "rate", "dB", ...; "share" counts clips.
        direction: which way is better; "none" where neither is.
        label: its plain name, for people.
        trusted: what the recordings themselves must reach (at most where lower is better, else at least) for the figure
            to judge a system. None where recordings reach everything.
        trusted_by_codec: the same limit for the recordings' round trip through the codec, where the recordings are
            compared with themselves and so are perfect.
        is_compared: False where no verdict may be given, such as for times on a machine whose load changes.
        needs_model: True where the model itself computes it and not a metric on audio.
    """

    name: str
    unit: str
    direction: Direction
    label: str
    trusted: float | None = None
    trusted_by_codec: float | None = None
    is_compared: bool = True
    needs_model: bool = False

    def reaches(self, mean: float, limit: float) -> bool:
        """Whether a mean is as good as a limit, or better."""
        return mean <= limit if self.direction == "lower" else mean >= limit


@dataclass(frozen=True)
class NotMeasured:
    """Why a clip has no number, in one sentence."""

    reason: str


@dataclass(frozen=True)
class SpeechClip:
    """What is measured: mono audio [T] in [-1, 1], its text, and a true recording [T'] of that text at the same rate.

    `key` is a digest of all of it, by which scores are kept.
    """

    audio: np.ndarray
    sample_rate_hz: int
    text: str
    reference: np.ndarray | None = None
    key: str = ""


Measurement = Mapping[str, float | NotMeasured]


@dataclass(frozen=True)
class Given:
    """What an evaluation has that a metric may need; each metric's `build` takes what it wants of it.

    Attributes:
        recordings: text -> true recording [T] of every held-out sentence.
        prompt: a recording [T] of the voice that is spoken in; None where the voice is a saved state.
        voice: that voice's name.
        other_voices: name -> some recordings [T] of voices that it could be taken for.
        recogniser: "none", a repository or folder with a speech recogniser, "faster-whisper:" and one of its models, or
            an object with `transcribe`.
        language: of the texts, an ISO 639-1 code.
    """

    sample_rate_hz: int
    recordings: Mapping[str, np.ndarray]
    prompt: np.ndarray | None = None
    voice: str = "tuned voice"
    other_voices: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)
    recogniser: Any = "none"
    language: str = "en"


class Metric(ABC):
    """One measurement of a clip, which may give several figures.

    `identity` names version and settings (model, prompt, list of sentences): scores are kept by it.
    """

    figures: tuple[Figure, ...]
    identity: str
    is_opinion: bool = False
    """Whether it predicts listeners' opinions, which takes longer than all other metrics together."""
    needs_speech: bool = True
    """False where silence has a value too, such as a word error rate of 1."""
    needs_reference: bool = False
    in_threads: bool = False
    """Whether several clips may be measured at once: where the work is done outside of Python's lock."""

    @classmethod
    @abstractmethod
    def build(cls, given: Given) -> Self:
        """The metric for an evaluation. Raises ModelMissing where something that it needs cannot be had."""

    def for_voice(self, voice: str, prompt: np.ndarray, sample_rate_hz: int) -> "Metric | None":
        """The same metric for clips in another voice, known by a recording [T]; None where it says nothing of them.

        No model is loaded again.
        """
        return self

    @abstractmethod
    def _measure(self, clip: SpeechClip) -> Measurement:
        """The figures of a clip that has samples, and speech or a reference where these are needed."""

    def measure(self, clip: SpeechClip) -> dict[str, float | NotMeasured]:
        """Each figure's number, or why this clip has none."""
        reason = self._why_not(clip)
        if reason is not None:
            return {figure.name: NotMeasured(reason) for figure in self.figures}
        measured = self._measure(clip)
        return {figure.name: _finite(measured[figure.name]) for figure in self.figures}

    def _why_not(self, clip: SpeechClip) -> str | None:
        if clip.audio.size < MIN_SPEECH_SEC * clip.sample_rate_hz:
            return "the clip has no samples" if not clip.audio.size else f"the clip is shorter than {MIN_SPEECH_SEC} s"
        if self.needs_speech and is_silent(clip.audio, clip.sample_rate_hz):
            return "the clip is silent"
        if self.needs_reference and clip.reference is None:
            return "there is no recording of this text to compare with"
        if self.needs_reference and clip.reference is not None and is_silent(clip.reference, clip.sample_rate_hz):
            return "the recording to compare with is silent"
        return None


def _finite(value: float | NotMeasured) -> float | NotMeasured:
    if isinstance(value, NotMeasured):
        return value
    return float(value) if math.isfinite(value) else NotMeasured("the measurement gave no finite number")
