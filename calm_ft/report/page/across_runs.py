"""What can be said across runs: whether they can be compared, what one gains over another, and means over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from calm_ft.metrics.bootstrap import Values, is_better, paired_interval
from calm_ft.metrics.registry import TIMINGS
from calm_ft.report.figures import (
    NOT_AVAILABLE,
    explained,
    headlines,
    interval_text,
    label,
    measured,
    value_text,
)
from calm_ft.report.page.scrub import Scrubber
from calm_ft.report.result import TUNED, Comparison, Difference
from calm_ft.report.runs import Run
from calm_ft.sweeps.folder import settings_fingerprint

_FINGERPRINTS = {"data_fingerprint": "data", "validation_fingerprint": "split into training and validation"}
_RULE_TITLES = {
    "num_sentences": "number of sentences",
    "num_seeds": "number of seeds",
    "asr": "recogniser",
    "base_voices": "choice of other voices",
    "weights": "type of weights",
}
_UNSAID = {"weights": "as trained"}
"""What rules are where an evaluation does not name them."""
_FOLLOWS = "chance_"
"""Rules that follow from the number of sentences or voices, and say nothing new."""
_TIMINGS = {figure.name for figure in TIMINGS}
_MAY_DIFFER = ("model", "voice", "seed")
"""What the runs themselves bring: weights, the place of the prompt's file, the training seed."""


def why_not_comparable(runs: Sequence[Run]) -> list[str]:
    """One sentence for each fingerprint that the runs do not share; empty where all trained on the same."""
    sentences = []
    for key, what in _FINGERPRINTS.items():
        groups = _groups(runs, {run.letter: str(run.record.get(key) or "unknown") for run in runs})
        if len(groups) > 1 or (len(runs) > 1 and "unknown" in groups):
            sentences.append(f"Not known to have the same {what}: {_listed(groups)}.")
    return sentences


def said_the_same(runs: Sequence[Run]) -> bool:
    """Whether all were evaluated and their tuned models said the same sentences, whatever they trained on."""
    said = [{(each.index, each.text) for each in run.utterances if each.system == TUNED} for run in runs]
    return all(run.was_evaluated and each and each == said[0] for run, each in zip(runs, said, strict=True))


def evaluations_differ(runs: Sequence[Run], scrub: Scrubber) -> list[str]:
    """One line for each rule by which evaluations differ; the model is what is compared, so it may differ."""
    evaluated = [run for run in runs if run.was_evaluated]
    lines = []
    for key in dict.fromkeys(key for run in evaluated for key in run.result.protocol if key != "model"):
        values = {
            run.letter: scrub(rule_text(run.result.protocol.get(key, _UNSAID.get(key, NOT_AVAILABLE))))
            for run in evaluated
        }
        groups = _groups(evaluated, values)
        if len(groups) > 1 and not key.startswith(_FOLLOWS):
            lines.append(f"Evaluated with another {rule_title(key)}: {_listed(groups)}.")
    return lines


def rule_title(key: str) -> str:
    """The name of a rule of an evaluation, for people."""
    return _RULE_TITLES.get(key, key.replace("_", " "))


def rule_text(value: object) -> str:
    """The value of a rule, without Python's brackets."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _groups(runs: Sequence[Run], values: Mapping[str, str]) -> dict[str, list[str]]:
    """Value -> the letters of the runs that have it."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups.setdefault(values[run.letter], []).append(run.letter)
    return groups


def _listed(groups: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{', '.join(letters)}: {value}" for value, letters in groups.items())


def against(runs: Sequence[Run], other: Run) -> list[Run]:
    """The runs with their tuned systems' differences from `other`'s instead of from their own base."""
    return [
        replace(run, result=run.result.model_copy(update={"against_base": _from_other(run, other)})) for run in runs
    ]


def why_not_paired(run: Run, other: Run) -> str:
    """Why the sentences of two runs are no pairs; empty where they are."""
    if not (run.was_evaluated and other.was_evaluated):
        return "not evaluated"
    if _spoken(run) != _spoken(other):
        return "other sentences"
    ours, theirs = run.result.protocol, other.result.protocol
    keys = dict.fromkeys([*ours, *theirs])
    different = [key for key in keys if key not in _MAY_DIFFER and ours.get(key) != theirs.get(key)]
    return f"evaluated in another way: {', '.join(different)}" if different else ""


def _from_other(run: Run, other: Run) -> dict[str, dict[str, Difference]]:
    if run.letter == other.letter or TUNED not in run.result.systems or why_not_paired(run, other):
        return {}
    found = {}
    for name, figure in run.result.systems[TUNED].metrics.items():
        interval = paired_interval(_values(run, name), _values(other, name))
        doubt = run.result.doubts.get(name) or other.result.doubts.get(name)
        found[name] = Difference(
            mean=interval.mean,
            low=interval.low,
            high=interval.high,
            n=interval.n,
            better=None if doubt or name in _TIMINGS else is_better(interval, figure.direction),
            doubt=doubt,
        )
    return {TUNED: found}


def _values(run: Run, name: str) -> Values:
    rows = (each for each in run.utterances if each.system == TUNED)
    return {(each.index, each.seed): value for each in rows if (value := each.metrics.get(name)) is not None}


def _spoken(run: Run) -> set[tuple[int, int, str]]:
    """The sentences with their texts, so that the third of one run is the third of the other."""
    return {(each.index, each.seed, each.text) for each in run.utterances if each.system == TUNED}


@dataclass(frozen=True)
class SeedRow:
    """One setting: its runs, their seeds, and (mean, smallest to largest) for each figure."""

    runs: tuple[str, ...]
    seeds: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SeedTable:
    """`heads` are (label, explanation) of each figure."""

    heads: tuple[tuple[str, str], ...]
    rows: tuple[SeedRow, ...]


def seed_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs by setting, in the order of their first ones; a run without a configuration is a group of its own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = settings_fingerprint(run.config, also_ignored=("seed",)) if run.config else run.letter
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def seed_table(runs: Sequence[Run]) -> SeedTable | None:
    """The main figures of all settings over their seeds; None where none was run with two seeds."""
    groups = seed_groups(runs)
    if all(len({run.config.get("seed") for run in group}) < 2 for group in groups):
        return None
    found = measured(_tuned_alone(runs))
    names = headlines(found, {name for run in runs for name in run.result.doubts})
    rows = tuple(
        SeedRow(
            tuple(run.letter for run in group),
            ", ".join(str(run.config.get("seed", NOT_AVAILABLE)) for run in group),
            tuple(_mean_and_range(group, name, found[name].unit) for name in names),
        )
        for group in groups
    )
    return SeedTable(tuple((label(name), explained(name, found[name])) for name in names), rows)


def _tuned_alone(runs: Sequence[Run]) -> Iterable[Comparison]:
    return (Comparison(systems={TUNED: run.result.systems[TUNED]}) for run in runs if TUNED in run.result.systems)


def _mean_and_range(group: Sequence[Run], name: str, unit: str) -> tuple[str, str]:
    means = [value for each in _tuned_alone(group) if (value := each.systems[TUNED].mean(name)) is not None]
    if not means:
        return NOT_AVAILABLE, ""
    spread = f"{interval_text(min(means), max(means), unit)}, {len(means)} seeds" if len(means) > 1 else "1 seed"
    return value_text(mean(means), unit), spread
