"""From scored clips to what is said of systems: means and medians, intervals, counts, differences from the base.

A verdict is given only where the judge passes: where a figure's value on the recordings themselves, or on their round
trip through the codec, reaches what `metrics.base.Figure` asks of it; where no system ran away or fell silent so often
that the figure is of other clips; and where the interval of the paired difference excludes zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from calm_ft.evaluation.clips import RUNAWAY_RATIO, TRUNCATED_END_DB, TRUNCATED_RATIO, Scored
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
from calm_ft.metrics.registry import FIGURES, FLAGGED, HEADLINES
from calm_ft.report.result import (
    BASE,
    CODEC,
    FLAGS,
    REFERENCE,
    TUNED,
    BaseVoicesResult,
    Comparison,
    Difference,
    MetricSummary,
    SeedSpread,
    SystemSummary,
)

MAX_FAULTY_SHARE = 0.1
"""Of runaway, silent or cut clips, above which a warning is due.

Above it, too, runaway clips cast doubt on figures along the recording, and silent ones on all that leave them out.
"""
_ALONG_THE_RECORDING = frozenset({"mcd_db", "log_f0_rmse", "voicing_error"})
RULES: dict[str, Any] = {
    "confidence": CONFIDENCE,
    "interval": f"BCa bootstrap over sentences, {NUM_RESAMPLES} resamples",
    "min_pairs_for_better": MIN_PAIRS_FOR_A_VERDICT,
    "runaway": f"not ended by itself, or longer than {RUNAWAY_RATIO} times the recording",
    "truncated": f"its last 20 ms within {-TRUNCATED_END_DB:g} dB of its loudest, or shorter than {TRUNCATED_RATIO} "
    "times the recording",
}


def compare(scored: Sequence[Scored], figures: Sequence[Figure], doubts: Mapping[str, str]) -> Comparison:
    """Every system's figures and its paired differences from the base; a figure in `doubts` gets no verdict."""
    clips = _by_system(scored)
    spoken_otherwise = [name for name in clips if name not in (REFERENCE, CODEC, BASE)]
    return Comparison(
        systems={name: _system(each, figures) for name, each in clips.items()},
        against_base={
            name: _against(clips[name], clips[BASE], figures, doubts) for name in spoken_otherwise if BASE in clips
        },
    )


def compare_in_base_voices(
    scored: Sequence[Scored], figures: Sequence[Figure], doubts: Mapping[str, str]
) -> BaseVoicesResult:
    """What systems make of voices that were not tuned to; an index stands for one sentence of one voice."""
    names = dict.fromkeys(each.spoken.voice for each in scored if each.spoken.voice is not None)
    generated = sum(each.spoken.system not in (REFERENCE, CODEC) for each in scored)
    compared = compare(scored, figures, doubts)
    return BaseVoicesResult(
        names=list(names), num_clips=generated, systems=compared.systems, against_base=compared.against_base
    )


def doubts_about(scored: Sequence[Scored], figures: Sequence[Figure]) -> dict[str, str]:
    """Figure -> why it may not judge these systems, in one sentence."""
    clips = _by_system(scored)
    found: dict[str, str] = {}
    for figure in figures:
        doubt = _doubt(figure, clips)
        if doubt is not None:
            found[figure.name] = doubt
    return found


def _doubt(figure: Figure, clips: Mapping[str, Sequence[Scored]]) -> str | None:
    if not figure.is_compared:
        return "times depend on what else the machine does."
    limits = (
        (REFERENCE, figure.trusted, "the recordings themselves"),
        (CODEC, figure.trusted_by_codec, "the recordings through the codec"),
    )
    for system, limit, what in limits:
        mean = mean_interval(_values(clips.get(system, ()), figure)).mean
        if limit is not None and mean is not None and not figure.reaches(mean, limit):
            side = "at most" if figure.direction == "lower" else "at least"
            return f"{what} have {mean:.2f}, where {side} {limit:g} is needed for the figure to tell systems apart."
    for name in (BASE, TUNED):
        spoken = clips.get(name, ())
        if figure.name in _ALONG_THE_RECORDING and _share(spoken, "runaway") > MAX_FAULTY_SHARE:
            return f"too much of the {name} model's speech did not end, and the alignment hides what came after."
        measured = [each for each in spoken if each.metrics.get(figure.name) is not None]
        silent = sum(each.flags["silent"] for each in spoken) - sum(each.flags["silent"] for each in measured)
        if measured and silent > MAX_FAULTY_SHARE * len(spoken):
            return f"{silent} of {len(spoken)} clips of the {name} model are silent, and the figure leaves them out."
    return None


def warnings_of(compared: Comparison) -> list[str]:
    """What went wrong with the tuned model's speech, with the ways out, one sentence each."""
    tuned, base = compared.systems.get(TUNED), compared.systems.get(BASE)
    if tuned is None or not tuned.counts.get("utterances"):
        return []
    words = {
        "runaway": (
            "did not end where the sentence ends",
            "use more recordings or fewer steps (trainer.max_steps), raise adapter.eos_loss_weight, or take another "
            "checkpoint (export.which)",
        ),
        "silent": ("is silent", "lower optimizer.lr, or take another checkpoint (export.which)"),
        "truncated": ("was cut off", "look at recordings that end in a word, or raise data.tail_sec"),
    }
    num = tuned.counts["utterances"]
    lines = []
    for flag in FLAGS:
        what, way = words[flag]
        count = tuned.counts.get(flag, 0)
        before = 0.0 if base is None else base.counts.get(flag, 0) / max(1, base.counts.get("utterances", 0))
        if count / num > max(MAX_FAULTY_SHARE, before):
            beside = "" if base is None else f" (base: {base.counts.get(flag, 0)})"
            lines.append(f"{count} of {num} clips of the tuned model: speech {what}{beside}. To mend it: {way}.")
    if worse := reads_worse(compared):
        lines.append(
            f"The tuned model reads worse than its base: {worse}. To mend it: take fewer steps (trainer.max_steps) or "
            "a lower optimizer.lr, see whether the texts say what is heard, or tune its teacher and distil that "
            "(docs/training.md, Teacher and student)."
        )
    return lines


def reads_worse(compared: Comparison) -> str:
    """How much more the tuned model gets wrong than the base; empty where that cannot be said."""
    for name in HEADLINES[0]:
        difference = compared.against_base.get(TUNED, {}).get(name)
        if difference is None or difference.better is None or difference.low is None or difference.high is None:
            continue
        if difference.verdict(FIGURES[name].direction) != "worse":
            return ""
        means = (f"{100 * (compared.systems[system].mean(name) or 0.0):.1f}%" for system in (BASE, TUNED))
        interval = f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f} points"
        return f"{FIGURES[name].label} {' to '.join(means)} (difference {interval})"
    return ""


def notes_of(compared: Comparison, base_voices: Comparison, doubts: Mapping[str, str]) -> list[str]:
    """What a reader should know beside the figures: what other voices lost, and where the codec is the limit."""
    worse = reads_worse(base_voices)
    forgotten = (
        [f"In other voices it reads worse than its base: {worse}. data=replay keeps more of them."] if worse else []
    )
    return [*forgotten, *_limited_by_the_codec(compared.systems, doubts)]


def _limited_by_the_codec(systems: Mapping[str, SystemSummary], doubts: Mapping[str, str]) -> list[str]:
    """Where the codec takes more from the recordings than the model lacks of its round trip."""
    if not {REFERENCE, CODEC, TUNED} <= systems.keys():
        return []
    limited = []
    for name in (name for names in HEADLINES for name in names):
        figure = FIGURES[name]
        found = [systems[system].mean(name) for system in (REFERENCE, CODEC, TUNED)]
        recordings, codec, tuned = found
        if figure.direction == "none" or recordings is None or codec is None or tuned is None or name in doubts:
            continue
        sign = 1 if figure.direction == "lower" else -1
        lost = sign * (codec - recordings)
        if lost > 0 and lost >= sign * (tuned - codec):
            limited.append(f"{figure.label} ({recordings:.2f} to {codec:.2f}, tuned {tuned:.2f})")
    if not limited:
        return []
    return [f"The codec is the limit, more than the tuning, of: {'; '.join(limited)}."]


def timing_of(scored: Sequence[Scored]) -> dict[str, Any]:
    """When and where systems were timed: a timing is kept with its clip, and may be older than the evaluation."""
    timings = [each.spoken.timing for each in scored if each.spoken.timing is not None]
    times = sorted(each.measured_at for each in timings)
    return {
        "rule": "each sentence alone, after a warm-up",
        "conditions": sorted({each.conditions for each in timings}),
        "measured": {"from": times[0], "to": times[-1]} if times else None,
    }


def means_of(scored: Sequence[Scored]) -> tuple[dict[str, float], dict[str, int]]:
    """Means of every figure over the clips that have it, and of how many that is; flags are shares."""
    values: dict[str, list[float]] = {}
    for each in scored:
        for name, value in each.figures.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(each)) for name, each in values.items()}, {n: len(v) for n, v in values.items()}


def _by_system(scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    clips: dict[str, list[Scored]] = {}
    for each in scored:
        clips.setdefault(each.spoken.system, []).append(each)
    return clips


def _share(clips: Sequence[Scored], flag: str) -> float:
    return sum(each.flags[flag] for each in clips) / len(clips) if clips else 0.0


def _system(clips: Sequence[Scored], figures: Sequence[Figure]) -> SystemSummary:
    counts = {figure.name: sum(each.flags[figure.name] for each in clips) for figure in FLAGGED}
    return SystemSummary(
        metrics={figure.name: _described(clips, figure) for figure in figures},
        counts={"utterances": len(clips), **counts},
        rtf=_real_time_factor(clips),
    )


def _described(clips: Sequence[Scored], figure: Figure) -> MetricSummary:
    values = _values(clips, figure)
    interval, spread = mean_interval(values), seed_spread(values)
    return MetricSummary(
        mean=interval.mean,
        median=float(np.median(list(values.values()))) if values else None,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        unit=figure.unit,
        direction=figure.direction,
        seeds=None if spread is None else SeedSpread(**asdict(spread)),
    )


def _against(
    clips: Sequence[Scored], base: Sequence[Scored], figures: Sequence[Figure], doubts: Mapping[str, str]
) -> dict[str, Difference]:
    rows = {}
    for figure in figures:
        found = paired_interval(_values(clips, figure), _values(base, figure))
        doubt = doubts.get(figure.name)
        better = None if doubt else is_better(found, figure.direction)
        rows[figure.name] = Difference(**asdict(found), better=better, doubt=doubt)
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
