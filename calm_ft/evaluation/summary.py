"""From scored clips to what is said of systems: means and medians, intervals, counts, differences from the base.

`summary.json`:
    {"run": ..., "systems": {system: {"metrics": {name: {"mean", "median", "low", "high", "n", "unit", "direction",
    "seeds"}}, "counts": {"utterances", "runaway", "silent", "truncated"}, "rtf"}},
    "against_base": {system: {name: {"mean", "low", "high", "n", "better"}}}, "missing": {name: reason},
    "base_voices": {"names", "num_clips", "systems", "against_base"} or {"reason"}, "timing": {...},
    "excluded": [{"path", "reason"}], "protocol": {...}}
`mean`, its 95 % interval `low` to `high` and `n` are over sentences, `median` is over clips; None where there are too
few. `seeds` is {"std", "low", "high", "num_seeds"}, the spread of the mean from seed to seed, or None with one seed. A
difference is system minus base over pairs of the same sentence and noise; `better` is true only where its interval
excludes zero on the good side, and None where that cannot be said (see `bootstrap`). Under `base_voices` the same is
said of sentences in voices that the run was not tuned to, a sentence being one of one voice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from calm_ft.data.utterance import Exclusion
from calm_ft.evaluation.protocol import (
    BASE,
    CODEC,
    REFERENCE,
    RUNAWAY_RATIO,
    TIMING_FIGURES,
    TRUNCATED_END_DB,
    TRUNCATED_RATIO,
    Scored,
)
from calm_ft.metrics.base import Figure
from calm_ft.metrics.bootstrap import (
    CONFIDENCE,
    MIN_PAIRS_FOR_A_VERDICT,
    NUM_RESAMPLES,
    Values,
    is_better,
    mean_interval,
    paired_interval,
    seed_spread,
)

NO_BASE_VOICES = {"reason": "no base voices were asked for."}
FLAGS = ("runaway", "silent", "truncated")
FLAG_FIGURES = tuple(Figure(flag, "share", "lower") for flag in FLAGS)
RULES = {
    "confidence": CONFIDENCE,
    "interval": f"BCa bootstrap over sentences, {NUM_RESAMPLES} resamples",
    "min_pairs_for_better": MIN_PAIRS_FOR_A_VERDICT,
    "runaway": f"not ended by itself, or longer than {RUNAWAY_RATIO} times the recording",
    "truncated": f"its last 20 ms within {-TRUNCATED_END_DB:g} dB of its loudest, or shorter than {TRUNCATED_RATIO} "
    "times the recording",
}


def summarize(
    run: str,
    scored: Sequence[Scored],
    figures: Sequence[Figure],
    missing: Mapping[str, str],
    protocol: Mapping[str, Any],
    base_voices: Mapping[str, Any] = NO_BASE_VOICES,
    excluded: Sequence[Exclusion] = (),
) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        missing: what could not be measured or compared at all, and why.
        base_voices: what `summarize_base_voices` says of them, or the reason why there are none.
        excluded: recordings that were to be evaluated on and cannot be used.
    """
    return {
        "run": run,
        **_compared(scored, [*figures, *TIMING_FIGURES]),
        "missing": dict(missing),
        "base_voices": dict(base_voices),
        "excluded": [asdict(each) for each in excluded],
        "timing": _timing(scored),
        "protocol": {**protocol, **RULES},
    }


def summarize_base_voices(scored: Sequence[Scored], figures: Sequence[Figure]) -> dict[str, Any]:
    """What systems make of voices that the run was not tuned to; an index stands for one sentence of one voice."""
    names = dict.fromkeys(each.spoken.voice for each in scored)
    generated = sum(each.spoken.system not in (REFERENCE, CODEC) for each in scored)
    return {"names": list(names), "num_clips": generated, **_compared(scored, figures)}


def _compared(scored: Sequence[Scored], figures: Sequence[Figure]) -> dict[str, Any]:
    clips: dict[str, list[Scored]] = {}
    for each in scored:
        clips.setdefault(each.spoken.system, []).append(each)
    spoken_otherwise = [name for name in clips if name not in (REFERENCE, CODEC, BASE)]
    return {
        "systems": {name: _system(each, figures) for name, each in clips.items()},
        "against_base": {
            name: _against(clips[name], clips[BASE], figures) for name in spoken_otherwise if BASE in clips
        },
    }


def utterance_row(scored: Scored, audio: str) -> dict[str, Any]:
    """One line of utterances.jsonl; `audio`: where its file lies, relative to it."""
    spoken = scored.spoken
    return {
        "system": spoken.system,
        "voice": spoken.voice,
        "index": spoken.index,
        "seed": spoken.seed,
        "text": spoken.text,
        "audio": audio,
        "metrics": scored.metrics,
        "missing": scored.missing,
        "flags": scored.flags,
    }


def _system(clips: Sequence[Scored], figures: Sequence[Figure]) -> dict[str, Any]:
    counts = {flag: sum(each.flags[flag] for each in clips) for flag in FLAGS}
    return {
        "metrics": {figure.name: _described(clips, figure) for figure in figures},
        "counts": {"utterances": len(clips), **counts},
        "rtf": _real_time_factor(clips),
    }


def _described(clips: Sequence[Scored], figure: Figure) -> dict[str, Any]:
    values = _values(clips, figure)
    interval, spread = mean_interval(values), seed_spread(values)
    return {
        "mean": interval.mean,
        "median": float(np.median(list(values.values()))) if values else None,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "unit": figure.unit,
        "direction": figure.direction,
        "seeds": None if spread is None else asdict(spread),
    }


def _against(clips: Sequence[Scored], base: Sequence[Scored], figures: Sequence[Figure]) -> dict[str, Any]:
    rows = {}
    for figure in figures:
        difference = paired_interval(_values(clips, figure), _values(base, figure))
        rows[figure.name] = {
            "mean": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "n": difference.n,
            "better": is_better(difference, figure.direction),
        }
    return rows


def _values(clips: Sequence[Scored], figure: Figure) -> Values:
    values = {}
    for each in clips:
        value = each.metrics.get(figure.name)
        if value is not None:
            values[each.spoken.index, each.spoken.seed] = value
    return values


def _real_time_factor(clips: Sequence[Scored]) -> float | None:
    """All seconds of generation over all seconds of audio, of the sentences that were timed."""
    timings = [each.spoken.timing for each in clips if each.spoken.timing is not None]
    audio_sec = sum(each.audio_sec for each in timings)
    return sum(each.generation_sec for each in timings) / audio_sec if audio_sec else None


def _timing(scored: Sequence[Scored]) -> dict[str, Any]:
    """When and where systems were timed: a timing is kept with its clip, and may be older than the evaluation."""
    timings = [each.spoken.timing for each in scored if each.spoken.timing is not None]
    times = sorted(each.measured_at for each in timings)
    return {
        "rule": "each sentence alone, after a warm-up",
        "conditions": sorted({each.conditions for each in timings}),
        "measured": {"from": times[0], "to": times[-1]} if times else None,
    }
