"""An evaluation: the same sentences, prompts and noise for every system, and every clip measured in the same way.

    protocol (what is said, in which voices) -> `speak` (clips are cached) -> `result` (measures and sums up)

A run makes one `Evaluator` and uses it before training, at steps, and at its end; `scripts/evaluate.py` makes one for a
finished run in the same folder, and reuses the clips and scores stored there.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.playing import Playing
from calm_ft.data.utterance import Exclusion
from calm_ft.evaluation.base_voices import BaseVoices
from calm_ft.evaluation.clips import Scored, Spoken, recorded
from calm_ft.evaluation.kept_audio import SPOKEN, KeptAudio
from calm_ft.evaluation.records import write_records
from calm_ft.evaluation.score_cache import CACHE_FILE, ScoreCache
from calm_ft.evaluation.scoring import content_key, score
from calm_ft.evaluation.speaking import NUM_TIMED, Lines, Speaker, as_file
from calm_ft.evaluation.summary import (
    RULES,
    compare,
    compare_in_base_voices,
    doubts_about,
    means_of,
    notes_of,
    timing_of,
    warnings_of,
)
from calm_ft.metrics.base import Figure, Given, Metric
from calm_ft.metrics.registry import TIMINGS, Available, available_metrics, for_voice
from calm_ft.report.result import (
    BASE,
    CODEC,
    FLAGS,
    REFERENCE,
    BaseVoicesResult,
    EvaluationResult,
    ExcludedClip,
    SystemSummary,
)

SPOKEN_IN_INT8 = "All systems spoke with int8 weights, made of their own for playing (--quantize)."
NO_BASE = "the export's base is not known: pass --of with the run that it comes from."


@dataclass(frozen=True)
class Protocol:
    """What is said, in which voices, and by which rules it is judged.

    Attributes:
        model: the system in a few words.
        texts, recordings: held-out sentences with their true recordings [T] at the model's rate.
        source: where these come from.
        voice: the recording or saved state that prompts all systems; prompt: its samples [T], None for a saved state.
        voice_source: where the prompt was taken from, for display.
        base_voices: voices that were not tuned to; sentences are spoken in them too.
        other_voices: gives voice -> recordings [T], for telling voices apart; includes the tuned voice, under
            `TUNED_VOICE`. Called once, where clips are measured: decoding these recordings takes seconds.
        seed, num_seeds: of the noise; clips of each sentence, each with other noise.
        recogniser: as `metrics.base.Given` takes it.
        opinion_scores: whether UTMOS and DNSMOS are wanted.
        language: of the texts, an ISO 639-1 code.
        excluded: recordings that cannot be used.
        playing: how systems speak, where that is not as they are played by default.
        int8_weights: whether they speak with int8 weights instead of their own.
    """

    model: str
    texts: list[str]
    recordings: list[Tensor]
    source: str
    sample_rate_hz: int
    voice: Path
    prompt: Tensor | None
    voice_source: str
    seed: int
    num_seeds: int
    recogniser: Any
    language: str
    opinion_scores: bool
    base_voices: BaseVoices = field(default_factory=lambda: BaseVoices([], "they were not asked for."))
    other_voices: Callable[[], Mapping[str, Sequence[np.ndarray]]] = dict
    excluded: Sequence[Exclusion] = ()
    playing: Playing = field(default_factory=Playing)
    int8_weights: bool = False

    def described(self) -> dict[str, Any]:
        """The fields that are stored in a result."""
        return {
            "model": self.model,
            "sentences": self.source,
            "num_sentences": len(self.texts),
            "num_seeds": self.num_seeds,
            "num_timed": min(NUM_TIMED, len(self.texts)),
            "seed": self.seed,
            "voice": self.voice_source,
            "base_voices": [f"{voice.name} ({len(voice.references)})" for voice in self.base_voices.voices],
            "sample_rate_hz": self.sample_rate_hz,
            "chance_sentence_identified": 1 / len(self.texts),
            "asr": self.recogniser if isinstance(self.recogniser, str) else self.recogniser.name,
            "language": self.language,
            **self.playing.model_dump(exclude_none=True),
            **({"weights": "int8"} if self.int8_weights else {}),
            **RULES,
        }


TUNED_VOICE = "tuned voice"


@dataclass(frozen=True)
class StepScores:
    """Scored clips of a step; means and counts by figure; figures that no clip has, with the reason."""

    clips: list[Scored]
    means: dict[str, float]
    counts: dict[str, int]
    missing: dict[str, str]


class Evaluator:
    """Speaks, measures and sums up by one protocol; audio and scores are kept in `folder`."""

    def __init__(self, protocol: Protocol, folder: Path, elsewhere: Sequence[Path] = ()) -> None:
        """Nothing is loaded or written yet.

        Args:
            folder: of the evaluation; it need not exist yet.
            elsewhere: folders of other evaluations; what was said and measured there is not said and measured again.
        """
        self.protocol = protocol
        self.folder = folder
        self.kept = KeptAudio(folder / SPOKEN, [each / SPOKEN for each in elsewhere])
        self._cache = ScoreCache(folder / CACHE_FILE, [each / CACHE_FILE for each in elsewhere])
        self._spoken: dict[str, list[Spoken]] = {}
        self._missing: dict[str, str] = {}
        self._lasting: dict[tuple[str, str], tuple[str, Metric]] = {}

    @cached_property
    def available(self) -> Available:
        """The metrics that can be had here, loaded when first asked for."""
        p = self.protocol
        given = Given(
            sample_rate_hz=p.sample_rate_hz,
            recordings=dict(zip(p.texts, map(np.asarray, p.recordings), strict=True)),
            prompt=None if p.prompt is None else np.asarray(p.prompt),
            voice=TUNED_VOICE,
            other_voices=p.other_voices(),
            recogniser=p.recogniser,
            language=p.language,
        )
        return available_metrics(given, p.opinion_scores)

    @cached_property
    def references(self) -> dict[int, Spoken]:
        """Sentence index -> its true recording."""
        p = self.protocol
        pairs = enumerate(zip(p.texts, p.recordings, strict=True))
        return {index: recorded(REFERENCE, index, text, audio, p.sample_rate_hz) for index, (text, audio) in pairs}

    def speak(self, adapter: TTSAdapter, system: str, is_timed: bool = False, num_first: int = 0) -> int:
        """Let the adapter say every sentence as `system`, in its voice and in base voices; returns how many clips.

        Args:
            is_timed: whether some sentences are said once more, alone, to be timed.
            num_first: how many of the sentences are spoken as a batch of their own, as `speak_step` does. The last
                bits of a clip depend on its batch.

        Raises UserError where what is said cannot be kept.
        """
        p = self.protocol
        own = Lines(list(enumerate(p.texts)), p.voice)
        with adapter.without_learned_voice() if system == BASE else nullcontext():
            speaker = Speaker(adapter, system, p.seed, self.kept)
            if num_first:
                speaker.speak(Lines(own.sentences[:num_first], p.voice), num_seeds=1)
            spoken = speaker.speak(own, p.num_seeds, NUM_TIMED if is_timed else 0)
        with adapter.without_learned_voice():
            speaker = Speaker(adapter, system, p.seed, self.kept)
            for voice in p.base_voices.voices:
                with as_file(voice.prompt, p.sample_rate_hz) as file:
                    sentences = [(index, each.text) for index, each in voice.references.items()]
                    spoken += speaker.speak(Lines(sentences, file, voice.name), num_seeds=1)
        self._spoken[system] = spoken
        return len(spoken)

    def hear_codec(self, adapter: TTSAdapter) -> None:
        """Encode and decode the recordings: the best that a model with this codec can reach."""
        p, clips = self.protocol, []
        for index, (text, audio) in enumerate(zip(p.texts, p.recordings, strict=True)):
            copy = adapter.reconstruct(audio)
            if copy is None:
                self._missing[CODEC] = f"{adapter.name} has no codec that recordings could be reconstructed with."
                return
            clips.append(recorded(CODEC, index, text, copy, p.sample_rate_hz))
        self._spoken = {CODEC: clips, **self._spoken}

    def own_clips(self, system: str, num_sentences: int | None = None) -> list[Spoken]:
        """A system's clips in the voice that was tuned to, those of the first noise only."""
        if system == REFERENCE:
            return list(self.references.values())[:num_sentences]
        clips = [each for each in self._spoken[system] if each.voice is None and each.seed == 0]
        return clips[:num_sentences]

    def score_step(self, clips: Sequence[Spoken]) -> StepScores:
        """Measure a few clips in the tuned voice, as a step in training does; without a progress bar."""
        metrics = self.available.metrics
        scored = score(clips, self.references, metrics, {}, self._cache, shows_progress=False)
        means, counts = means_of(scored)
        names = [figure.name for figure in self.available.figures] + list(FLAGS)
        missing = {name: _reason(scored, name) for name in names if name not in means}
        return StepScores(scored, {n: means[n] for n in names if n in means}, counts, missing)

    def speak_step(self, adapter: TTSAdapter, system: str, num_sentences: int) -> list[Spoken]:
        """The first sentences once; not cached, because the weights will change."""
        p = self.protocol
        speaker = Speaker(adapter, system, p.seed, KeptAudio(None), shows_progress=False)
        return speaker.speak(Lines(list(enumerate(p.texts[:num_sentences])), p.voice), num_seeds=1)

    def save_scores(self) -> None:
        """Keep what was measured so far. Raises OSError where it cannot be written."""
        self._cache.save()

    def write(self, result: EvaluationResult, scored: Sequence[Scored]) -> None:
        """Write the evaluation's files, and delete cached clips that it no longer uses.

        Raises OSError where they cannot be written.
        """
        write_records(self.folder, scored, result)
        self._cache.save()
        self.kept.forget_unused()

    def share(self, folder: Path) -> None:
        """Add what the base said to a folder that is `elsewhere` for other runs, with what `result` measured of it.

        With it go the measures of recordings and of their round trips.

        Raises UserError or OSError where it cannot be written.
        """
        self.kept.copy_to(folder / SPOKEN, [each.kept_as for each in self._spoken.get(BASE, [])])
        self._cache.copy_to(folder / CACHE_FILE, self._lasting.values())

    def result(self, run: str, step: int | None = None) -> tuple[EvaluationResult, list[Scored]]:
        """Measure all that was said; the result and its clips, in the order of reports."""
        own = [*self.references.values(), *(each for each in self._all() if each.voice is None)]
        figures = [*self.available.figures, *TIMINGS]
        scored = self._score(own, self.references, self.available.metrics, self.available.missing)
        doubts = doubts_about(scored, figures)
        compared = compare(scored, figures, doubts)
        in_base_voices, base_voices = self._in_base_voices(doubts)
        if BASE not in self._spoken:
            self._missing["against_base"] = NO_BASE
        result = EvaluationResult(
            run=run,
            step=step,
            systems=compared.systems,
            against_base=compared.against_base,
            missing={**self.available.missing, **self._missing},
            doubts={name: doubt for name, doubt in doubts.items() if _is_measured(compared.systems, name)},
            warnings=warnings_of(compared),
            notes=[
                *([SPOKEN_IN_INT8] if self.protocol.int8_weights else []),
                *notes_of(compared, base_voices, doubts),
            ],
            base_voices=base_voices,
            excluded=[
                ExcludedClip(path=each.path, reason=each.reason)
                for each in (*self.protocol.excluded, *self.protocol.base_voices.excluded)
            ],
            timing=timing_of(scored),
            protocol=self.protocol.described(),
        )
        return result, [*scored, *in_base_voices]

    def _in_base_voices(self, doubts: Mapping[str, str]) -> tuple[list[Scored], BaseVoicesResult]:
        p = self.protocol
        if not p.base_voices.voices:
            return [], BaseVoicesResult(reason=p.base_voices.reason)
        scored: list[Scored] = []
        figures: dict[str, Figure] = {}
        for voice in p.base_voices.voices:
            metrics = for_voice(self.available, voice.name, np.asarray(voice.prompt), p.sample_rate_hz)
            figures |= {figure.name: figure for metric in metrics for figure in metric.figures}
            own = [*voice.references.values(), *(each for each in self._all() if each.voice == voice.name)]
            scored += self._score(own, voice.references, metrics, {})
        order = {REFERENCE: 0, BASE: 1}
        ordered = sorted(scored, key=lambda each: order.get(each.spoken.system, 2))
        # Each voice may have figures that another lacks, such as identification. Doubts found on the tuned voice
        # apply here too; these clips can add more.
        found = list(figures.values())
        return ordered, compare_in_base_voices(ordered, found, {**doubts_about(ordered, found), **doubts})

    def _score(
        self,
        clips: Sequence[Spoken],
        references: Mapping[int, Spoken],
        metrics: Sequence[Metric],
        missing: Mapping[str, str],
    ) -> list[Scored]:
        """Measures clips, and remembers those that a run with other weights has as well."""
        for clip in clips:
            if clip.system in (REFERENCE, CODEC, BASE):
                key = content_key(clip, references[clip.index])
                self._lasting |= {(key, metric.identity): (key, metric) for metric in metrics}
        return score(clips, references, metrics, missing, self._cache)

    def _all(self) -> list[Spoken]:
        return [each for clips in self._spoken.values() for each in clips]


def _is_measured(systems: Mapping[str, SystemSummary], name: str) -> bool:
    return any(each.mean(name) is not None for each in systems.values())


def _reason(clips: Sequence[Scored], name: str) -> str:
    return next((each.missing[name] for each in clips if name in each.missing), "no sentence was spoken")
