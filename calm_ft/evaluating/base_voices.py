"""Base voices: voices that a run was not tuned to, spoken in before and after, to hear what tuning forgets.

Of each voice a few recordings are chosen; the longest of them prompts, the others' sentences are said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.utterance import Exclusion, Utterance, commonest_reason
from calm_ft.errors import UserError
from calm_ft.evaluating.heldout import choose_usable
from calm_ft.evaluating.settings import EvaluationSettings
from calm_ft.evaluating.subject import Subject
from calm_ft.evaluation.protocol import BASE, REFERENCE, Scored, Spoken, recorded, score
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.metrics.base import Figure
from calm_ft.metrics.registry import Available, of_another_voice
from calm_ft.training.base_voices import read_voice_folders
from calm_ft.training.judgement import MAX_PROMPT_SEC


@dataclass(frozen=True)
class BaseVoice:
    """A voice's prompt [T] and the recordings of its sentences, by an index that no other voice's sentences have."""

    name: str
    prompt: Tensor
    references: dict[int, Spoken]


@dataclass(frozen=True)
class BaseVoices:
    """Those that are spoken in, or why there are none; what of their recordings was left out."""

    voices: list[BaseVoice]
    reason: str
    excluded: list[Exclusion]


def read_base_voices(subject: Subject, settings: EvaluationSettings, adapter: TTSAdapter, seed: int) -> BaseVoices:
    """Choose and decode what is to be said in which voices.

    Raises UserError where --base-voices names no folder of voices, or none that can be used.
    """
    why_not = _why_none(subject, settings)
    if why_not:
        return BaseVoices([], why_not, [])
    try:
        found = _recordings(subject, settings)
        return _chosen(found, settings, adapter, seed)
    except UserError as error:
        if settings.base_voices is not None:
            raise
        return BaseVoices([], str(error), [])  # folders that the run knew may be gone; all else can be measured


def _why_none(subject: Subject, settings: EvaluationSettings) -> str:
    if not settings.base_sentences:
        return "they were not asked for (--base-sentences 0)."
    if BASE not in subject.systems:
        return "the export's base is not known: pass --of with the run that it comes from."
    if settings.base_voices is None and not any(_configured(subject)):
        return (
            "the run names no other voices: pass --base-voices with a folder that has a folder of recordings with "
            "texts for each voice."
        )
    return ""


def _configured(subject: Subject) -> tuple[str | None, str | None]:
    """The folders of other voices that the run's configuration names: for forgetting, and to be told apart from."""
    evaluation = (subject.config() or {}).get("evaluation", {})
    return evaluation.get("base_voices_path"), evaluation.get("voices_path")


def _recordings(subject: Subject, settings: EvaluationSettings) -> dict[str, list[Utterance]]:
    """Voice -> its recordings, of at most so many voices as are asked for."""
    base_path, voices_path = _configured(subject)
    path = settings.base_voices or base_path or voices_path
    voices = read_voice_folders(str(path), "--base-voices" if settings.base_voices else "evaluation.base_voices_path")
    wanted = (subject.config() or {}).get("evaluation", {}).get("base_voices") or voices
    if settings.base_voices is not None or base_path is None:
        wanted = voices
    names = [name for name in wanted if name in voices][: settings.max_base_voices]
    return {name: voices[name] for name in names}


def _chosen(
    found: dict[str, list[Utterance]], settings: EvaluationSettings, adapter: TTSAdapter, seed: int
) -> BaseVoices:
    voices: list[BaseVoice] = []
    excluded: list[Exclusion] = []
    rate_hz, first = adapter.sample_rate_hz, 0
    for name, utterances in found.items():
        usable = choose_usable(utterances, adapter, settings.base_sentences + 1, seed)
        excluded += usable.excluded
        if len(usable.recordings) < 2:
            excluded.append(Exclusion(name, "a voice needs two recordings: one prompts, another is said"))
            continue
        prompt = _prompt(usable.recordings, rate_hz)
        said = [
            (utterance.text, audio)
            for number, (utterance, audio) in enumerate(zip(usable.utterances, usable.recordings, strict=True))
            if number != prompt
        ]
        references = {
            index: recorded(REFERENCE, index, text, audio, rate_hz, name)
            for index, (text, audio) in enumerate(said, start=first)
        }
        first += len(said)
        voices.append(BaseVoice(name, usable.recordings[prompt], references))
    if not voices:
        raise UserError(
            f"Base voices: none of {', '.join(found) or 'those named'} can be used "
            f"({commonest_reason(excluded) if excluded else 'they are not in the folder'}): pass --base-voices with "
            "other recordings."
        )
    return BaseVoices(voices, "", excluded)


def _prompt(recordings: Sequence[Tensor], rate_hz: int) -> int:
    """Which recording prompts: the longest of at most 10 s; where all are longer, the shortest."""
    lengths = [len(each) for each in recordings]
    short = [length for length in lengths if length <= MAX_PROMPT_SEC * rate_hz]
    return lengths.index(max(short) if short else min(lengths))


@dataclass(frozen=True)
class ScoredBaseVoices:
    """Clips with their numbers, and which figures these are."""

    clips: list[Scored]
    figures: list[Figure]


def score_base_voices(
    base_voices: BaseVoices, clips: Sequence[Spoken], available: Available, cache: ScoreCache
) -> ScoredBaseVoices:
    """Measure clips in these voices, each voice by its own recordings and prompt; the recordings come first."""
    scored: list[Scored] = []
    figures: dict[str, Figure] = {}
    for voice in base_voices.voices:
        rate_hz = next(iter(voice.references.values())).sample_rate_hz
        metrics = of_another_voice(available.metrics, np.asarray(voice.prompt), rate_hz)
        figures |= {figure.name: figure for metric in metrics for figure in metric.figures}
        own = [*voice.references.values(), *(each for each in clips if each.voice == voice.name)]
        scored += score(own, voice.references, metrics, {}, cache)
    order = {REFERENCE: 0, BASE: 1}
    return ScoredBaseVoices(sorted(scored, key=lambda each: order.get(each.spoken.system, 2)), list(figures.values()))
