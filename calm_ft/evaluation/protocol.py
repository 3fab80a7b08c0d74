"""How systems are compared: the same sentences, prompts and noise for all, every clip measured in the same way.

Systems are "reference" (the true recordings: the floor of what errors a metric makes by itself), "codec" (their round
trip through the codec: the ceiling for whatever speaks through it), "base" (zero-shot) and "tuned". What is measured is
what a clip's WAV file holds, 16 bits a sample.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import cpu_count
from typing import TypeVar

import torch
from tqdm import tqdm

from calm_ft.data.utterance import Utterance
from calm_ft.evaluation.kept_audio import Timing
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.metrics.audio_io import AudioLike, read_wav_bytes, wav_bytes
from calm_ft.metrics.base import Clip, Figure, Measurement, Metric, NotMeasured
from calm_ft.metrics.audio_io import resampled

REFERENCE, CODEC, BASE, TUNED = "reference", "codec", "base", "tuned"
TIMING_FIGURES = (Figure("rtf", "s/s", "lower"), Figure("time_to_first_audio_sec", "s", "lower"))
RUNAWAY_RATIO = 2.5
TRUNCATED_RATIO = 0.5
TRUNCATED_END_DB = -20.0

UtteranceT = TypeVar("UtteranceT", bound=Utterance)


@dataclass(frozen=True)
class Spoken:
    """One clip of one system as its WAV file's content.

    `timing` is None for what was not generated, and for what was, but not timed; `voice` for the voice that was tuned
    to, else it is the name of a base voice.
    """

    system: str
    index: int
    seed: int
    text: str
    wav: bytes
    sample_rate_hz: int
    ended: bool = True
    timing: Timing | None = None
    voice: str | None = None

    @property
    def name(self) -> str:
        """Its file's name."""
        voice = "" if self.voice is None else f"{self.voice}_"
        return f"{self.system}_{voice}{self.index:03d}_{self.seed}.wav"


@dataclass(frozen=True)
class Scored:
    """A clip's numbers, why others are missing, and what went wrong with it."""

    spoken: Spoken
    metrics: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)


def choose_sentences(utterances: Sequence[UtteranceT], num_sentences: int, seed: int) -> list[UtteranceT]:
    """A fixed choice of held-out utterances, each text once, in their own order.

    Those with the smallest hashes of (seed, text) are taken, not the first ones: lists are often sorted.
    """
    by_text = {utterance.text: utterance for utterance in reversed(utterances)}
    ranked = sorted(by_text, key=lambda text: hashlib.sha256(f"{seed}:{text}".encode()).digest())
    chosen = {id(by_text[text]) for text in ranked[:num_sentences]}
    return [utterance for utterance in utterances if id(utterance) in chosen]


def recorded(
    system: str, index: int, text: str, audio: AudioLike, sample_rate_hz: int, voice: str | None = None
) -> Spoken:
    """A clip that no system spoke: a recording, or its round trip."""
    return Spoken(system, index, 0, text, wav_bytes(audio, sample_rate_hz), sample_rate_hz, voice=voice)


def score(
    clips: Sequence[Spoken],
    references: Mapping[int, Spoken],
    metrics: Sequence[Metric],
    missing: Mapping[str, str],
    cache: ScoreCache,
    progress: bool = True,
) -> list[Scored]:
    """Measure every clip against the recording of its sentence (index -> clip); what the cache knows is not measured.

    Args:
        missing: figures that no metric gives, and why; noted at every clip.
        progress: whether a bar may be shown.
    """
    measured = [_measurable(each, references[each.index]) for each in clips]
    results: list[dict[str, float | NotMeasured]] = [{} for _ in clips]
    hidden = None if progress else True  # None: where stderr is no terminal
    with tqdm(total=len(clips) * len(metrics), desc="measuring", unit="", leave=False, disable=hidden) as bar:
        for metric in metrics:
            workers = (cpu_count() or 1) if metric.in_threads else 1
            with (
                _torch_threads(1 if metric.in_threads else torch.get_num_threads()),
                ThreadPoolExecutor(workers) as pool,
            ):
                one = [pool.submit(_measure, metric, clip, cache) for clip in measured]
                for result, future in zip(results, one, strict=True):
                    result.update(future.result())
                    bar.update()
    return [_scored(clip, result, missing) for clip, result in zip(clips, results, strict=True)]


@contextmanager
def _torch_threads(num_threads: int) -> Iterator[None]:
    """Clips side by side leave torch's own threads nothing to do but to wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measurable(spoken: Spoken, reference: Spoken) -> Clip:
    rate = spoken.sample_rate_hz
    truth = resampled(read_wav_bytes(reference.wav), reference.sample_rate_hz, rate)
    clip = Clip(read_wav_bytes(spoken.wav), rate, spoken.text, truth)
    digest = hashlib.sha256(spoken.wav + b"\0" + spoken.text.encode() + b"\0" + reference.wav)
    return replace(clip, key=digest.hexdigest())


def _measure(metric: Metric, clip: Clip, cache: ScoreCache) -> Measurement:
    known = cache.get(clip.key, metric)
    if known is None:
        known = metric.measure(clip)
        cache.put(clip.key, metric, known)
    return known


def _scored(spoken: Spoken, result: Measurement, missing: Mapping[str, str]) -> Scored:
    values = {**result, **{name: NotMeasured(reason) for name, reason in missing.items()}}
    values |= _timed(spoken)
    numbers = {name: None if isinstance(value, NotMeasured) else value for name, value in values.items()}
    reasons = {name: value.reason for name, value in values.items() if isinstance(value, NotMeasured)}
    return Scored(spoken, numbers, reasons, _flags(spoken, numbers))


def _timed(spoken: Spoken) -> dict[str, float | NotMeasured]:
    timing = spoken.timing
    if timing is None:
        is_recorded = spoken.system in (REFERENCE, CODEC)
        reason = "the clip was not generated" if is_recorded else "it is not among the sentences that were timed"
        return {figure.name: NotMeasured(reason) for figure in TIMING_FIGURES}
    if not timing.audio_sec:
        return {figure.name: NotMeasured("the clip has no samples") for figure in TIMING_FIGURES}
    return {"rtf": timing.generation_sec / timing.audio_sec, "time_to_first_audio_sec": timing.first_audio_sec}


def _flags(spoken: Spoken, numbers: Mapping[str, float | None]) -> dict[str, bool]:
    """runaway: not ended by itself, or far too long; truncated: loud at the very end, or far too short."""
    ratio, end_db = numbers.get("duration_ratio"), numbers.get("end_level_db")
    silence = numbers.get("silence_share")
    runaway = not spoken.ended or (ratio is not None and ratio > RUNAWAY_RATIO)
    cut = end_db is not None and end_db > TRUNCATED_END_DB
    return {
        "runaway": runaway,
        "silent": silence is None or silence >= 1.0,
        "truncated": cut or (ratio is not None and ratio < TRUNCATED_RATIO),
    }
