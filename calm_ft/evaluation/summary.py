"""From scored clips to what is said of systems: means and medians, intervals, counts, differences from the base.

`summary.json`:
    {"run": ..., "systems": {system: {"metrics": {name: {"mean", "median", "low", "high", "n", "unit", "direction"}},
    "counts": {"utterances", "runaway", "silent", "truncated"}, "rtf"}},
    "against_base": {system: {name: {"mean", "low", "high", "n", "better"}}}, "missing": {name: reason},
    "protocol": {...}}
`mean`, its 95 % interval `low` to `high` and `n` are over sentences, `median` is over clips; None where there are too
few. A difference is system minus base over pairs of the same sentence and noise; `better` is true only where its
interval excludes zero on the good side, and None where that cannot be said (see `bootstrap`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from calm_ft.evaluation.audio_io import read_wav_bytes
from calm_ft.evaluation.bootstrap import (
    CONFIDENCE,
    MIN_PAIRS_FOR_A_VERDICT,
    NUM_RESAMPLES,
    Values,
    is_better,
    mean_interval,
    paired_interval,
)
from calm_ft.evaluation.metrics.base import Figure
from calm_ft.evaluation.protocol import (
    BASE,
    CODEC,
    REFERENCE,
    RTF_FIGURE,
    RUNAWAY_RATIO,
    TRUNCATED_END_DB,
    TRUNCATED_RATIO,
    Scored,
)

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
) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        missing: what could not be measured or compared at all, and why.
    """
    clips: dict[str, list[Scored]] = {}
    for each in scored:
        clips.setdefault(each.spoken.system, []).append(each)
    names = [*figures, RTF_FIGURE]
    spoken_otherwise = [name for name in clips if name not in (REFERENCE, CODEC, BASE)]
    return {
        "run": run,
        "systems": {name: _system(each, names) for name, each in clips.items()},
        "against_base": {name: _against(clips[name], clips[BASE], names) for name in spoken_otherwise if BASE in clips},
        "missing": dict(missing),
        "protocol": {**protocol, **RULES},
    }


def utterance_row(scored: Scored, audio: str) -> dict[str, Any]:
    """One line of utterances.jsonl; `audio`: where its file lies, relative to it."""
    spoken = scored.spoken
    return {
        "system": spoken.system,
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
    interval = mean_interval(values)
    return {
        "mean": interval.mean,
        "median": float(np.median(list(values.values()))) if values else None,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "unit": figure.unit,
        "direction": figure.direction,
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
    """All seconds of generation over all seconds of audio."""
    generated = [each.spoken for each in clips if each.spoken.generation_sec is not None]
    audio_sec = sum(read_wav_bytes(each.wav).size / each.sample_rate_hz for each in generated)
    return sum(each.generation_sec or 0.0 for each in generated) / audio_sec if audio_sec else None
