"""An evaluation from its arguments to its files, in the order in which a mistake costs least.

Everything is read and checked first; then every system speaks every sentence, everything is measured, and only then are
the evaluation's files written, so that whatever fails leaves an earlier one as it was. What was said is kept at once,
beside these files: an evaluation that was interrupted goes on from there.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calm_ft.errors import UserError
from calm_ft.evaluating.base_voices import score_base_voices
from calm_ft.evaluating.plan import Plan, prepare
from calm_ft.evaluating.settings import EvaluationSettings
from calm_ft.evaluating.speaking import NUM_TIMED, Lines, Speaker, as_file
from calm_ft.evaluation.kept_audio import SPOKEN, KeptAudio
from calm_ft.evaluation.protocol import BASE, CODEC, REFERENCE, Spoken, recorded, score
from calm_ft.evaluation.score_cache import CACHE_FILE, ScoreCache
from calm_ft.evaluation.summary import summarize, summarize_base_voices
from calm_ft.metrics.registry import available_metrics
from calm_ft.report.records import write_records


@dataclass(frozen=True)
class Evaluation:
    """Where the files are, and what summary.json holds."""

    folder: Path
    summary: dict[str, Any]
    num_clips: int
    wall_sec: float


def evaluate(model: str, settings: EvaluationSettings, others: Sequence[Path] = ()) -> Evaluation:
    """Evaluate a run, an export, or "base".

    Args:
        others: folders of other runs' evaluations; what was said and measured there is not said and measured again.

    Raises UserError for input that is the user's to mend, before anything is written.
    """
    started = time.perf_counter()
    plan = prepare(model, settings)
    rate_hz = plan.adapter.sample_rate_hz
    references = _references(plan)
    recordings = dict(zip(plan.heldout.texts, map(np.asarray, plan.heldout.recordings), strict=True))
    prompt = None if plan.prompt is None else np.asarray(plan.prompt)
    available = available_metrics(recordings, prompt, rate_hz, plan.asr)
    missing = _not_compared(plan)
    round_trips = list(_round_trips(plan, missing))
    elsewhere = [*plan.earlier, *others]
    kept = KeptAudio(plan.folder / SPOKEN, [folder / SPOKEN for folder in elsewhere])
    spoken = _speak(plan, settings, kept)
    cache = ScoreCache(plan.folder / CACHE_FILE, [folder / CACHE_FILE for folder in elsewhere])
    in_own_voice = [*references.values(), *round_trips, *(each for each in spoken if each.voice is None)]
    scored = score(in_own_voice, references, available.metrics, available.missing, cache)
    in_base_voices = score_base_voices(plan.base_voices, spoken, available, cache)
    base_voices = (
        summarize_base_voices(in_base_voices.clips, in_base_voices.figures)
        if in_base_voices.clips
        else {"reason": plan.base_voices.reason}
    )
    summary = summarize(
        model,
        scored,
        available.figures,
        {**available.missing, **missing},
        _protocol(plan, settings),
        base_voices,
        [*plan.heldout.excluded, *plan.base_voices.excluded],
    )
    try:
        write_records(plan.folder, [*scored, *in_base_voices.clips], summary)
        cache.save()
        kept.forget_unused()
    except OSError as error:
        raise UserError(f"{plan.folder} cannot be written ({error.strerror}): pass another --output-dir.") from error
    return Evaluation(plan.folder, summary, len(scored) + len(in_base_voices.clips), time.perf_counter() - started)


def _references(plan: Plan) -> dict[int, Spoken]:
    rate_hz = plan.adapter.sample_rate_hz
    sentences = zip(plan.heldout.texts, plan.heldout.recordings, strict=True)
    return {index: recorded(REFERENCE, index, text, audio, rate_hz) for index, (text, audio) in enumerate(sentences)}


def _not_compared(plan: Plan) -> dict[str, str]:
    if BASE in plan.subject.systems:
        return {}
    return {"against_base": "the export's base is not known: pass --of with the run that it comes from."}


def _round_trips(plan: Plan, missing: dict[str, str]) -> Iterator[Spoken]:
    adapter = plan.adapter
    for index, (text, audio) in enumerate(zip(plan.heldout.texts, plan.heldout.recordings, strict=True)):
        copy = adapter.reconstruct(audio)
        if copy is None:
            missing[CODEC] = f"{adapter.name} has no codec that a recording could pass through as its speech does."
            return
        yield recorded(CODEC, index, text, copy, adapter.sample_rate_hz)


def _speak(plan: Plan, settings: EvaluationSettings, kept: KeptAudio) -> list[Spoken]:
    """All systems' clips, in the voice that was tuned to and in base voices."""
    spoken = []
    own = Lines(list(enumerate(plan.heldout.texts)), plan.voice)
    with ExitStack() as files:
        others = [
            Lines([(index, each.text) for index, each in voice.references.items()], file, voice.name)
            for voice in plan.base_voices.voices
            for file in [files.enter_context(as_file(voice.prompt, plan.adapter.sample_rate_hz))]
        ]
        for system in plan.subject.systems:
            with plan.models.speaking(system) as adapter:
                speaker = Speaker(adapter, system, plan.seed, kept)
                spoken += speaker.speak(own, settings.num_seeds, NUM_TIMED)
                for lines in others:
                    spoken += speaker.speak(lines, num_seeds=1)
    return spoken


def _protocol(plan: Plan, settings: EvaluationSettings) -> Mapping[str, Any]:
    return {
        "model": plan.adapter.describe(),
        "sentences": plan.heldout.source,
        "num_sentences": len(plan.heldout.texts),
        "num_seeds": settings.num_seeds,
        "num_timed": min(NUM_TIMED, len(plan.heldout.texts)),
        "seed": plan.seed,
        "voice": str(plan.voice),
        "base_voices": [f"{voice.name} ({len(voice.references)})" for voice in plan.base_voices.voices],
        "sample_rate_hz": plan.adapter.sample_rate_hz,
        "chance_sentence_identified": 1 / len(plan.heldout.texts),
        "asr": plan.asr if isinstance(plan.asr, str) else plan.asr.name,
    }
