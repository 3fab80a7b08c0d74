"""Every figure that a run or an evaluation may have, and the metrics that measure them.

Monitors, sweeps, tables and pages read names, units, directions and labels from here alone. A metric joins by its name
in `METRICS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calm_ft.metrics.base import Figure, Given, Metric, ModelMissing
from calm_ft.metrics.distortion import Distortion, Pitch
from calm_ft.metrics.identification import SentenceIdentified, VoiceIdentified
from calm_ft.metrics.naturalness import DNSMOS, UTMOS
from calm_ft.metrics.sound import Sound
from calm_ft.metrics.speaker import ResemblyzerSimilarity, WavLMSimilarity
from calm_ft.metrics.words import WordErrors

METRICS: tuple[type[Metric], ...] = (
    WordErrors,
    WavLMSimilarity,
    ResemblyzerSimilarity,
    VoiceIdentified,
    UTMOS,
    DNSMOS,
    Distortion,
    Pitch,
    SentenceIdentified,
    Sound,
)
"""In the order of reports."""

MEASURED = tuple(figure for metric in METRICS for figure in metric.figures)
OPINIONS = frozenset(figure.name for metric in METRICS if metric.is_opinion for figure in metric.figures)
TIMINGS = (
    Figure("rtf", "s/s", "lower", "seconds to speak one second", is_compared=False),
    Figure("time_to_first_audio_sec", "s", "lower", "time to first audio", is_compared=False),
)
FLAGGED = (
    Figure("runaway", "share", "lower", "did not end"),
    Figure("silent", "share", "lower", "silent"),
    Figure("truncated", "share", "lower", "cut off"),
)
RESIDUAL = Figure("residual", "", "lower", "validation residual", needs_model=True)
BASE_VOICES_RESIDUAL = Figure("base_voices_residual", "", "lower", "residual on base voices", needs_model=True)

FIGURES: Mapping[str, Figure] = {
    figure.name: figure for figure in (*MEASURED, *TIMINGS, *FLAGGED, RESIDUAL, BASE_VOICES_RESIDUAL)
}
HEADLINES = (
    ("cer", "wer"),
    ("speaker_similarity_wavlm", "speaker_similarity_resemblyzer", "voice_identified"),
    ("utmos", "dnsmos_overall"),
    ("mcd_db",),
    ("duration_ratio",),
)
"""The five questions that a report answers first, each by the first of its figures that was measured.

Characters before words: in a few short sentences, a wrong letter that makes a whole word wrong is too coarse a measure.
"""


@dataclass(frozen=True)
class Available:
    """metrics: those that can be measured; missing: figure name -> why not, in one sentence."""

    metrics: list[Metric]
    missing: dict[str, str]

    @property
    def figures(self) -> list[Figure]:
        """What the metrics give, in the order of reports."""
        return [figure for metric in self.metrics for figure in metric.figures]


def available_metrics(given: Given, opinion_scores: bool = True) -> Available:
    """Build every metric that can be had.

    Args:
        opinion_scores: whether UTMOS and DNSMOS are wanted, which take longer than all others together.
    """
    metrics: list[Metric] = []
    missing: dict[str, str] = {}
    for kind in METRICS:
        if kind.is_opinion and not opinion_scores:
            continue
        try:
            metrics.append(kind.build(given))
        except ModelMissing as reason:
            missing |= {figure.name: str(reason) for figure in kind.figures}
    return Available(metrics, missing)


def for_voice(available: Available, voice: str, prompt: np.ndarray, sample_rate_hz: int) -> list[Metric]:
    """The metrics that say something of clips in another voice, known by a recording [T]; no model is loaded again."""
    found = (metric.for_voice(voice, prompt, sample_rate_hz) for metric in available.metrics)
    return [metric for metric in found if metric is not None]
