"""The tables of papers/evaluation_study.md from the study's evaluations, by the protocol's reading.

python -m benchmarks.evaluation_study_tables study --output benchmarks/results/evaluation_study.json
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.evaluation_study import RATES, sweeps
from calm_ft.atomic_file import write_text
from calm_ft.errors import UserError, run_script
from calm_ft.metrics.bootstrap import Values, paired_interval

TUNED_VOICE, BASE_VOICES = "tuned voice", "base voices"
OUTCOMES = {
    TUNED_VOICE: ("cer", "mcd_db", "speaker_similarity_resemblyzer", "sentence_identified", "log_f0_rmse"),
    BASE_VOICES: ("cer", "mcd_db", "speaker_similarity_resemblyzer"),
}
SHORT = {
    "cer": "CER",
    "mcd_db": "MCD, dB",
    "speaker_similarity_resemblyzer": "similarity",
    "sentence_identified": "sentence identified",
    "log_f0_rmse": "F0 error, cents",
}
DIGITS = {"cer": 3, "mcd_db": 2, "speaker_similarity_resemblyzer": 3, "sentence_identified": 2, "log_f0_rmse": 0}
ZERO_SHOT = "zero-shot base"
CENTRE = "head_only_recordings"


@dataclass(frozen=True)
class Outcome:
    """A figure on the tuned voice, or on the base voices."""

    voices: str
    figure: str

    def __str__(self) -> str:
        return f"{self.voices}: {self.figure}"


Scores = Mapping[Outcome, Values]
"""Each outcome's (sentence, seed) -> value."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder that the study was run into")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    given = parser.parse_args()
    scores = read_study(given.study)
    content = {
        "means": {name: {str(each): described(values) for each, values in of.items()} for name, of in scores.items()},
        "comparisons": [
            {"setting": a, "against": b, "outcomes": compare(scores[a], scores[b])} for a, b in comparisons()
        ],
    }
    write_text(given.output, json.dumps(content, indent=1) + "\n")
    print(markdown(content))


def comparisons() -> Iterator[tuple[str, str]]:
    """(setting, what it is compared with), in the order of the protocol."""
    for data in ("recordings", "replay"):
        yield from ((f"{strategy}_{data}", ZERO_SHOT) for strategy in RATES)
    yield from ((f"{strategy}_recordings", CENTRE) for strategy in RATES if strategy != "head_only")
    yield from ((f"{strategy}_replay", f"{strategy}_recordings") for strategy in RATES)
    yield from ((_objective("linear", share), _objective("cosine", share)) for share in ("0", "25", "50"))
    for schedule in ("cosine", "linear"):
        yield from ((_objective(schedule, share), _objective(schedule, "25")) for share in ("0", "50"))


def _objective(schedule: str, share: str) -> str:
    return CENTRE if (schedule, share) == ("cosine", "25") else f"head_only_{schedule}_lsd_{share}"


def read_study(study: Path) -> dict[str, Scores]:
    """Setting -> its scores over its three seeds; the zero-shot base is that of the centre's runs.

    Raises UserError where a run was not evaluated.
    """
    scores: dict[str, Scores] = {}
    for sweep in sweeps():
        systems: dict[str, dict[Outcome, dict[tuple[int, int], float]]] = {
            system: defaultdict(dict) for system in ("base", "tuned")
        }
        for seed in range(3):
            for row in _rows(study / "runs" / f"{sweep.name}-{seed}" / "evaluation"):
                if row["system"] in systems:
                    _add(systems[row["system"]], row, seed)
        scores[sweep.name] = systems["tuned"]
        if sweep.name == CENTRE:
            scores[ZERO_SHOT] = systems["base"]
    return scores


def _rows(evaluation: Path) -> Iterator[dict[str, Any]]:
    path = evaluation / "utterances.jsonl"
    if not path.is_file():
        raise UserError(f"{path} is missing: python -m benchmarks.evaluation_study evaluate makes it.")
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _add(outcomes: dict[Outcome, dict[tuple[int, int], float]], row: Mapping[str, Any], seed: int) -> None:
    voice = row.get("voice")
    voices = TUNED_VOICE if voice is None else BASE_VOICES
    sentence = _number(voice or "", row["text"])
    for figure in OUTCOMES[voices]:
        value = row["metrics"].get(figure)
        if value is not None:
            outcomes[Outcome(voices, figure)][sentence, seed] = value


_numbers: dict[tuple[str, str], int] = {}


def _number(voice: str, text: str) -> int:
    """The same sentence by the same voice has one number in all runs."""
    return _numbers.setdefault((voice, text), len(_numbers))


def described(values: Values) -> dict[str, Any]:
    """The mean over seeds and sentences, and the three seeds' means."""
    by_seed = [mean(value for (_, its), value in values.items() if its == seed) for seed in range(3)]
    return {"mean": mean(by_seed), "seeds": by_seed, "num_clips": len(values)}


def compare(setting: Scores, against: Scores) -> dict[str, dict[str, Any]]:
    """Outcome -> mean paired difference, its interval, the seeds' differences and whether it counts."""
    return {str(each): _difference(setting[each], against[each]) for each in setting}


def _difference(values: Values, other: Values) -> dict[str, Any]:
    interval = paired_interval(values, other)
    pairs = {key: value - other[key] for key, value in values.items() if key in other}
    seeds = [mean(value for (_, its), value in pairs.items() if its == seed) for seed in range(3)]
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
    outcomes = [Outcome(voices, figure) for voices, figures in OUTCOMES.items() for figure in figures]
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
    name = SHORT[outcome.figure]
    return name if outcome.voices == TUNED_VOICE else f"base voices: {name}"


def _mean_cell(described: Mapping[str, Any], figure: str) -> str:
    digits = DIGITS[figure]
    low, high = min(described["seeds"]), max(described["seeds"])
    return f"{described['mean']:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def _difference_cell(difference: Mapping[str, Any], figure: str) -> str:
    digits = DIGITS[figure]
    mean, low, high = (f"{difference[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"**{mean}** [{low}, {high}]" if difference["counts"] else f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    run_script(main)
