"""Measuring clips: every metric on every clip, and nothing twice."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from os import cpu_count

import torch

from calm_ft.evaluation.clips import Scored, Spoken, flags_of
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.metrics.audio_io import read_wav_bytes, resampled
from calm_ft.metrics.base import Measurement, Metric, NotMeasured, SpeechClip
from calm_ft.metrics.registry import TIMINGS
from calm_ft.progress import Progress
from calm_ft.report.result import CODEC, REFERENCE


def score(
    clips: Sequence[Spoken],
    references: Mapping[int, Spoken],
    metrics: Sequence[Metric],
    missing: Mapping[str, str],
    cache: ScoreCache,
    shows_progress: bool = True,
) -> list[Scored]:
    """Measure every clip against the recording of its sentence (index -> clip); what the cache knows is not measured.

    Args:
        missing: figures that no metric gives, and why; noted at every clip.
        shows_progress: False where another bar may be there already.
    """
    measured = [_measurable(each, references[each.index]) for each in clips]
    results: list[dict[str, float | NotMeasured]] = [{} for _ in clips]
    with Progress("measuring", len(clips) * len(metrics), leave=False, hidden=not shows_progress) as bar:
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


def content_key(spoken: Spoken, reference: Spoken) -> str:
    """What a clip's scores are kept by: a hash of its sound, its text and the recording that it is compared with."""
    return hashlib.sha256(spoken.wav + b"\0" + spoken.text.encode() + b"\0" + reference.wav).hexdigest()


def _measurable(spoken: Spoken, reference: Spoken) -> SpeechClip:
    rate = spoken.sample_rate_hz
    truth = resampled(read_wav_bytes(reference.wav), reference.sample_rate_hz, rate)
    clip = SpeechClip(read_wav_bytes(spoken.wav), rate, spoken.text, truth)
    return replace(clip, key=content_key(spoken, reference))


def _measure(metric: Metric, clip: SpeechClip, cache: ScoreCache) -> Measurement:
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
    return Scored(spoken, numbers, reasons, flags_of(spoken, numbers))


def _timed(spoken: Spoken) -> dict[str, float | NotMeasured]:
    timing = spoken.timing
    if timing is None:
        is_recorded = spoken.system in (REFERENCE, CODEC)
        reason = "the clip was not generated" if is_recorded else "it is not among the sentences that were timed"
        return {figure.name: NotMeasured(reason) for figure in TIMINGS}
    if not timing.audio_sec:
        return {figure.name: NotMeasured("the clip has no samples") for figure in TIMINGS}
    return {"rtf": timing.generation_sec / timing.audio_sec, "time_to_first_audio_sec": timing.first_audio_sec}
