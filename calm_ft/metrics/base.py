"""What a metric is, and the only way in which one is asked.

Convention: a metric gives numbers, or says in one sentence why it has none for this clip; it never gives NaN,
infinity, or a zero that stands for "unknown". A metric whose model cannot be had is not built at all: its
constructor raises `ModelMissing`, and the reason is reported in its place.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calm_ft.metrics.audio_io import is_silent

Direction = Literal["lower", "higher", "none"]
MIN_SPEECH_SEC = 0.1


class ModelMissing(Exception):  # noqa: N818 - a state of the machine, reported in the metric's place
    """The model under a metric cannot be had; the message is one sentence that says why and what would help."""


@dataclass(frozen=True)
class Figure:
    """A number's name, its unit, and which way is better ("none": neither)."""

    name: str
    unit: str
    direction: Direction


@dataclass(frozen=True)
class NotMeasured:
    """Why a clip has no number, in one sentence."""

    reason: str


@dataclass(frozen=True)
class Clip:
    """What is measured: mono audio [T] in [-1, 1], its text, and a true recording [T'] of that text at the same rate.

    `key` is a digest of all of it, by which scores are kept.
    """

    audio: np.ndarray
    sample_rate_hz: int
    text: str
    reference: np.ndarray | None = None
    key: str = ""


Measurement = Mapping[str, float | NotMeasured]


class Metric(ABC):
    """One measurement of a clip, which may give several figures.

    `identity` names version and settings (model, prompt, list of sentences): scores are kept by it.
    """

    figures: tuple[Figure, ...]
    identity: str
    needs_speech: bool = True
    """False where silence has a value too, such as a word error rate of 1."""
    needs_reference: bool = False
    in_threads: bool = False
    """Whether several clips may be measured at once: where the work is done outside of Python's lock."""

    @abstractmethod
    def _measure(self, clip: Clip) -> Measurement:
        """The figures of a clip that has samples, and speech or a reference where these are needed."""

    def measure(self, clip: Clip) -> dict[str, float | NotMeasured]:
        """Each figure's number, or why this clip has none."""
        reason = self._why_not(clip)
        if reason is not None:
            return {figure.name: NotMeasured(reason) for figure in self.figures}
        measured = self._measure(clip)
        return {figure.name: _finite(measured[figure.name]) for figure in self.figures}

    def _why_not(self, clip: Clip) -> str | None:
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
