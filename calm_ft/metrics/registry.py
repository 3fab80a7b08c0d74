"""The metrics that this machine can measure, and why it cannot measure the others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calm_ft.metrics.base import Figure, Metric, ModelMissing
from calm_ft.metrics.distortion import ALIGNED_FIGURES, PITCH_FIGURES, Distortion, Pitch
from calm_ft.metrics.identification import SENTENCE_FIGURE, SentenceIdentified
from calm_ft.metrics.naturalness import DNSMOS, DNSMOS_FIGURES, UTMOS, UTMOS_FIGURE
from calm_ft.metrics.recognisers import PREFIX, FasterWhisperTranscriber, HubTranscriber
from calm_ft.metrics.sound import SOUND_FIGURES, Sound
from calm_ft.metrics.speaker import (
    RESEMBLYZER_FIGURE,
    WAVLM_FIGURE,
    ResemblyzerSimilarity,
    SpeakerSimilarity,
    WavLMSimilarity,
)
from calm_ft.metrics.words import WORD_FIGURES, Transcriber, WordErrors

NO_ASR = "none"
DEFAULT_ASR = "openai/whisper-base.en"
OPINION_FIGURES = (UTMOS_FIGURE, *DNSMOS_FIGURES)
ALL_FIGURES = (
    *WORD_FIGURES,
    WAVLM_FIGURE,
    RESEMBLYZER_FIGURE,
    *OPINION_FIGURES,
    *ALIGNED_FIGURES,
    *PITCH_FIGURES,
    SENTENCE_FIGURE,
    *SOUND_FIGURES,
)
"""What can be measured at all, in the order of reports."""


@dataclass(frozen=True)
class Available:
    """metrics: those that can be measured; missing: figure name -> why not, in one sentence."""

    metrics: list[Metric]
    missing: dict[str, str]

    @property
    def figures(self) -> list[Figure]:
        """What the metrics give, in a fixed order."""
        return [figure for metric in self.metrics for figure in metric.figures]


def available_metrics(
    recordings: Mapping[str, np.ndarray],
    prompt: np.ndarray | None,
    sample_rate_hz: int,
    asr: str | Transcriber,
    opinion_scores: bool = True,
) -> Available:
    """Load all metrics.

    Args:
        recordings: text -> true recording [T] of every held-out sentence.
        prompt: a recording [T] of the voice, for speaker similarity; None where the voice is a saved state.
        asr: "none", a repository or folder with a speech recogniser, "faster-whisper:" and one of its models, or a
            recogniser.
        opinion_scores: whether UTMOS and DNSMOS are wanted, which take longer than all others together.
    """
    builders: list[tuple[Iterable[Figure], Callable[[], Metric]]] = [
        (WORD_FIGURES, lambda: WordErrors(load_transcriber(asr))),
        ((WAVLM_FIGURE,), lambda: WavLMSimilarity(_present(prompt), sample_rate_hz)),
        ((RESEMBLYZER_FIGURE,), lambda: ResemblyzerSimilarity(_present(prompt), sample_rate_hz)),
        ((UTMOS_FIGURE,), UTMOS),
        (DNSMOS_FIGURES, DNSMOS),
        ((), Distortion),
        (PITCH_FIGURES, Pitch),
        ((), lambda: SentenceIdentified(recordings, sample_rate_hz)),
        ((), Sound),
    ]
    metrics: list[Metric] = []
    missing: dict[str, str] = {}
    for figures, builder in builders:
        if not opinion_scores and set(figures) & set(OPINION_FIGURES):
            continue
        try:
            metrics.append(builder())
        except ModelMissing as reason:
            missing |= {figure.name: str(reason) for figure in figures}
    return Available(metrics, missing)


def load_transcriber(asr: str | Transcriber) -> Transcriber:
    """The recogniser that was asked for. Raises ModelMissing where it cannot be had."""
    if not isinstance(asr, str):
        return asr
    if asr == NO_ASR:
        raise ModelMissing("no speech recogniser was asked for: name one of the hub, or a folder.")
    if asr.startswith(PREFIX):
        return FasterWhisperTranscriber(asr.removeprefix(PREFIX))
    return HubTranscriber(asr)


def of_another_voice(metrics: Sequence[Metric], prompt: np.ndarray, sample_rate_hz: int) -> list[Metric]:
    """The metrics that compare a clip with its text, its recording and its voice, for the voice of `prompt` [T].

    No model is loaded again. Predicted opinions, which cost most, and the choice from a list of sentences, which is
    another list in each voice, are left out.
    """
    kept = (WordErrors, SpeakerSimilarity, Distortion, Pitch, Sound)
    return [
        each.with_prompt(prompt, sample_rate_hz) if isinstance(each, SpeakerSimilarity) else each
        for each in metrics
        if isinstance(each, kept)
    ]


def _present(prompt: np.ndarray | None) -> np.ndarray:
    if prompt is None:
        raise ModelMissing("the voice is a saved state, and no recording of it is at hand: pass one as --voice.")
    return prompt
