"""The study of papers/evaluation_study.md: strategies, replay, schedules and LSD shares, judged by the evaluation.

    python -m benchmarks.evaluation_study run --output-dir study   # 39 runs, each evaluated on 40 held-out sentences
    python -m benchmarks.evaluation_study table study              # also writes study/evaluation_study.json

What is finished is not repeated.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks import studies
from benchmarks.measuring import ROOT
from benchmarks.studies import Sweep
from calm_ft.atomic_file import write_text
from calm_ft.errors import run_script
from calm_ft.metrics.bootstrap import Values, paired_interval
from calm_ft.metrics.registry import FIGURES
from calm_ft.report.result import BASE, TUNED, UtteranceRow, read_utterances
from calm_ft.report.runs import EVALUATION
from tools.nano.assets import held_out_sentences, write_voice
from tools.nano.voices import DEMO_VOICE

NUM_SEEDS = 3
RATES = {"head_only": "1e-3", "last_n_layers": "6e-4", "full": "3e-4", "lora": "1e-3"}
HALF = ["objective=lsd", "objective.flow_weight=0.5", "objective.lsd_weight=0.5", "objective.lsd_fraction=0.5"]
LSD_SHARES = {"0": ["objective=flow_matching"], "25": ["objective=lsd"], "50": HALF}
TUNED_VOICE, BASE_VOICES = "tuned voice", "base voices"
DIGITS = {"cer": 3, "mcd_db": 2, "speaker_similarity_resemblyzer": 3, "sentence_identified": 2, "log_f0_rmse": 0}
OUTCOMES = {TUNED_VOICE: list(DIGITS), BASE_VOICES: ["cer", "mcd_db", "speaker_similarity_resemblyzer"]}
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
    studies.run_or_table(__doc__, run, table)


def sweeps() -> Iterator[Sweep]:
    """Strategies by replay, then schedules by LSD share; what both have, head_only on cosine with .25, comes once."""
    seeds = f"seed={','.join(map(str, range(NUM_SEEDS)))}"
    for data in ("recordings", "replay"):
        for strategy, rate in RATES.items():
            yield Sweep(f"{strategy}_{data}", [seeds, f"strategy={strategy}", f"optimizer.lr={rate}", f"data={data}"])
    for schedule in ("cosine", "linear"):
        for share, objective in LSD_SHARES.items():
            if (schedule, share) != ("cosine", "25"):
                settings = ["strategy=head_only", f"optimizer.lr={RATES['head_only']}", f"interpolant={schedule}"]
                yield Sweep(_objective(schedule, share), [seeds, *settings, *objective])


def _objective(schedule: str, share: str) -> str:
    return CENTRE if (schedule, share) == ("cosine", "25") else f"head_only_{schedule}_lsd_{share}"


def comparisons() -> Iterator[tuple[str, str]]:
    """(setting, what it is compared with), in the order of the protocol."""
    for data in ("recordings", "replay"):
        yield from ((f"{strategy}_{data}", ZERO_SHOT) for strategy in RATES)
    yield from ((f"{strategy}_recordings", CENTRE) for strategy in RATES if strategy != "head_only")
    yield from ((f"{strategy}_replay", f"{strategy}_recordings") for strategy in RATES)
    yield from ((_objective("linear", share), _objective("cosine", share)) for share in LSD_SHARES)
    for schedule in ("cosine", "linear"):
        yield from ((_objective(schedule, share), _objective(schedule, "25")) for share in ("0", "50"))


def run(output_dir: Path) -> None:
    """Train, then evaluate on sentences that neither the runs nor the recogniser have heard."""
    quiet = [Sweep(each.name, [*each.overrides, "evaluation.num_sentences=0"]) for each in sweeps()]
    studies.train(quiet, output_dir / "runs", output_dir / "cache")
    heldout = write_heldout(output_dir / "heldout")
    runs = sorted(str(each.parent) for each in (output_dir / "runs").glob("*/run.json"))
    command = [sys.executable, "-m", "calm_ft.evaluate", *runs, "--heldout-path", str(heldout)]
    subprocess.run(command, cwd=ROOT, check=True)


def write_heldout(folder: Path) -> Path:
    """The 24 held-out sentences of the demo voice and 16 that no shipped clip says, by the same voice."""
    if not (folder / "complete").is_file():
        write_voice(folder, DEMO_VOICE, held_out_sentences(0)["everyday"])
        (folder / "complete").touch()
    return folder


def table(output_dir: Path) -> str:
    """The tables by the protocol's reading, which are also written as JSON.

    Raises UserError where a run was not evaluated.
    """
    scores = read_study(output_dir / "runs")
    content = {
        "means": {name: {str(each): described(values) for each, values in of.items()} for name, of in scores.items()},
        "comparisons": [
            {"setting": a, "against": b, "outcomes": compare(scores[a], scores[b])} for a, b in comparisons()
        ],
    }
    write_text(output_dir / "evaluation_study.json", json.dumps(content, indent=1) + "\n")
    return markdown(content)


def read_study(runs: Path) -> dict[str, Scores]:
    """Setting -> its scores over its seeds; the zero-shot base is that of the centre's runs."""
    scores: dict[str, Scores] = {}
    numbers: dict[tuple[str, str], int] = {}
    for sweep in sweeps():
        systems: dict[str, dict[Outcome, dict[tuple[int, int], float]]] = {
            system: defaultdict(dict) for system in (BASE, TUNED)
        }
        for seed in range(NUM_SEEDS):
            for row in read_utterances(runs / f"{sweep.name}-{seed}" / EVALUATION):
                if row.system in systems:
                    # The same sentence by the same voice has one number in all runs.
                    number = numbers.setdefault((row.voice or "", row.text), len(numbers))
                    _add(systems[row.system], row, number, seed)
        scores[sweep.name] = systems[TUNED]
        if sweep.name == CENTRE:
            scores[ZERO_SHOT] = systems[BASE]
    return scores


def _add(outcomes: dict[Outcome, dict[tuple[int, int], float]], row: UtteranceRow, number: int, seed: int) -> None:
    voices = TUNED_VOICE if row.voice is None else BASE_VOICES
    for figure in OUTCOMES[voices]:
        value = row.metrics.get(figure)
        if value is not None:
            outcomes[Outcome(voices, figure)][number, seed] = value


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


if __name__ == "__main__":
    run_script(main)
