"""What the studies by `evaluate.py` share: paired differences between settings, sentence by sentence.

A difference is the mean over sentences, the seeds of a sentence averaged first, with the BCa interval over sentences.
It counts where the interval excludes zero and all seeds have its sign.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.studies import NUM_SEEDS
from calm_ft.metrics.bootstrap import Values, paired_interval
from calm_ft.metrics.registry import FIGURES
from calm_ft.report.result import BASE, TUNED, UtteranceRow, read_utterances
from calm_ft.report.runs import EVALUATION

TUNED_VOICE, BASE_VOICES = "tuned voice", "base voices"
DIGITS = {
    "cer": 3,
    "mcd_db": 2,
    "speaker_similarity_resemblyzer": 3,
    "voice_identified": 2,
    "sentence_identified": 2,
    "log_f0_rmse": 0,
}
OUTCOMES = {
    TUNED_VOICE: list(DIGITS),
    BASE_VOICES: ["cer", "mcd_db", "speaker_similarity_resemblyzer", "voice_identified"],
}
ZERO_SHOT = "zero-shot base"


@dataclass(frozen=True)
class Outcome:
    """A figure on the tuned voice, or on the base voices."""

    voices: str
    figure: str

    def __str__(self) -> str:
        return f"{self.voices}: {self.figure}"


Scores = Mapping[Outcome, Values]
"""Each outcome's (sentence, seed) -> value."""


def read_scores(runs: Path, names: Iterable[str], centre: str) -> dict[str, Scores]:
    """Setting -> its scores over its seeds; the zero-shot base is that of the runs of `centre`.

    Raises UserError where a run was not evaluated.
    """
    scores: dict[str, Scores] = {}
    numbers: dict[tuple[str, str], int] = {}
    for name in names:
        systems: dict[str, dict[Outcome, dict[tuple[int, int], float]]] = {
            system: defaultdict(dict) for system in (BASE, TUNED)
        }
        for seed in range(NUM_SEEDS):
            for row in read_utterances(runs / f"{name}-{seed}" / EVALUATION):
                if row.system in systems:
                    # The same sentence by the same voice has one number in all runs.
                    number = numbers.setdefault((row.voice or "", row.text), len(numbers))
                    _add(systems[row.system], row, number, seed)
        scores[name] = systems[TUNED]
        if name == centre:
            scores[ZERO_SHOT] = systems[BASE]
    return scores


def _add(outcomes: dict[Outcome, dict[tuple[int, int], float]], row: UtteranceRow, number: int, seed: int) -> None:
    voices = TUNED_VOICE if row.voice is None else BASE_VOICES
    for figure in OUTCOMES[voices]:
        value = row.metrics.get(figure)
        if value is not None:
            outcomes[Outcome(voices, figure)][number, seed] = value


def compared(scores: Mapping[str, Scores], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Means of every setting, and differences of the pairs (setting, what it is compared with), as JSON has them."""
    return {
        "means": {name: {str(each): described(values) for each, values in of.items()} for name, of in scores.items()},
        "comparisons": [{"setting": a, "against": b, "outcomes": compare(scores[a], scores[b])} for a, b in pairs],
    }


def by_seed(values: Values) -> list[float]:
    """Each seed's mean."""
    return [mean(value for (_, its), value in values.items() if its == seed) for seed in range(NUM_SEEDS)]


def described(values: Values) -> dict[str, Any]:
    """The mean over seeds and sentences, and the seeds' means."""
    seeds = by_seed(values)
    return {"mean": mean(seeds), "seeds": seeds, "num_clips": len(values)}


def compare(setting: Scores, against: Scores) -> dict[str, dict[str, Any]]:
    """Outcome -> mean paired difference, its interval, the seeds' differences and whether it counts."""
    return {str(each): _difference(setting[each], against[each]) for each in setting}


def _difference(values: Values, other: Values) -> dict[str, Any]:
    interval = paired_interval(values, other)
    seeds = by_seed({key: value - other[key] for key, value in values.items() if key in other})
    one_sign = abs(sum(np.sign(seeds))) == len(seeds)
    excludes_zero = interval.low is not None and interval.high is not None and interval.low * interval.high > 0
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "num_sentences": interval.n,
        "seeds": seeds,
        "counts": bool(one_sign and excludes_zero),
    }


def markdown(content: Mapping[str, Any]) -> str:
    """Means with the seeds' range; differences with their interval, bold where they count."""
    measured = content["means"][ZERO_SHOT]
    every = [Outcome(voices, figure) for voices, figures in OUTCOMES.items() for figure in figures]
    outcomes = [each for each in every if str(each) in measured]
    header = [f"| | {' | '.join(map(_column, outcomes))} |", "|---" * (len(outcomes) + 1) + "|"]
    lines = list(header)
    for name in (ZERO_SHOT, *(each for each in content["means"] if each != ZERO_SHOT)):
        cells = [_mean_cell(content["means"][name][str(each)], each.figure) for each in outcomes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *header]
    for each in content["comparisons"]:
        cells = [_difference_cell(each["outcomes"][str(outcome)], outcome.figure) for outcome in outcomes]
        lines.append(f"| {each['setting']} against {each['against']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _column(outcome: Outcome) -> str:
    label = FIGURES[outcome.figure].label
    return label if outcome.voices == TUNED_VOICE else f"base voices: {label}"


def _mean_cell(described: Mapping[str, Any], figure: str) -> str:
    digits = DIGITS[figure]
    low, high = min(described["seeds"]), max(described["seeds"])
    return f"{described['mean']:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def _difference_cell(difference: Mapping[str, Any], figure: str) -> str:
    digits = DIGITS[figure]
    mean, low, high = (f"{difference[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"**{mean}** [{low}, {high}]" if difference["counts"] else f"{mean} [{low}, {high}]"
