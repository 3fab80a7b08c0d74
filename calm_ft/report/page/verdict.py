"""One sentence a run: what its tuned model does better and worse, as far as the intervals allow it to be said.

Words come from `Difference.verdict` and the reasons why a figure may not judge, and from nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from calm_ft.metrics.bootstrap import MIN_PAIRS_FOR_A_VERDICT
from calm_ft.metrics.registry import HEADLINES
from calm_ft.report.figures import headlines, label, measured
from calm_ft.report.result import TUNED, Comparison, Difference
from calm_ft.report.runs import Run

_SAID = {
    "wer": ("reads better", "reads worse"),
    "cer": ("reads better", "reads worse"),
    "speaker_similarity_wavlm": ("sounds more like the voice", "sounds less like the voice"),
    "speaker_similarity_resemblyzer": ("sounds more like the voice", "sounds less like the voice"),
    "voice_identified": ("is known as the voice more often", "is known as the voice less often"),
    "utmos": ("sounds more natural", "sounds less natural"),
    "dnsmos_overall": ("sounds more natural", "sounds less natural"),
    "mcd_db": ("is closer to the recordings", "is further from the recordings"),
}
"""Figure -> what it means that it is better, and worse."""
_FAULTS = {"runaway": "did not end", "silent": "were silent"}


@dataclass(frozen=True)
class Verdict:
    """`text` is a sentence of the runs called `letters`; `tone` is better, worse, mixed or open."""

    letters: tuple[str, ...]
    text: str
    tone: str


def verdict(run: Run, other: str, may_judge: bool) -> Verdict:
    """What may be said of a run.

    Args:
        other: what the differences are from: "the base", or a run's letter.
        may_judge: False where the runs stand side by side and cannot be compared.
    """
    reason = _why_open(run, other, may_judge)
    if reason:
        return Verdict((run.letter,), reason, "open")
    good, bad = _clauses(run.result, run.result.doubts)
    keeps, forgets = _clauses(run.result.base_voices, run.result.doubts)
    text = _sentence(good, bad, other)
    if not (good or bad):
        num = max(each.n for each in _differences(run.result).values())
        text = f"differs from {other} in none of the main figures beyond chance ({num} sentences)"
    if forgets:
        text += f"; it forgets other voices: in them it {_joined(forgets)}"
    elif keeps:
        text += f"; in other voices it {_joined(keeps)}"
    tone = "worse" if bad or forgets else "better"
    tone = "mixed" if good and (bad or forgets) else tone
    tone = tone if good or bad or forgets else "open"
    return Verdict((run.letter,), f"{text}.{_doubts(run)}", tone)


def together(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The same sentence once, with all the runs that it is said of."""
    found: dict[tuple[str, str], Verdict] = {}
    for each in verdicts:
        key = each.text, each.tone
        found[key] = replace(each, letters=(*found[key].letters, *each.letters)) if key in found else each
    return list(found.values())


def warnings_of(run: Run) -> list[str]:
    """What went wrong with the speech; earlier versions wrote no sentences of it, but counts."""
    if run.result.warnings:
        return list(run.result.warnings)
    tuned = run.result.systems.get(TUNED)
    counts = {} if tuned is None else tuned.counts
    return [
        f"{counts[flag]} of {counts.get('utterances', 'its')} clips {said}."
        for flag, said in _FAULTS.items()
        if counts.get(flag)
    ]


def _why_open(run: Run, other: str, may_judge: bool) -> str:
    """Why nothing can be said of a run; empty where something can."""
    if not run.was_evaluated:
        return "was not evaluated, so nothing can be said of it yet."
    if other == run.letter:
        return "is what the other runs are compared with."
    if not may_judge:
        return "is not judged here, because the runs cannot be compared (see below)."
    found = _differences(run.result)
    if not found:
        return f"has no figure that {other} has too, so nothing can be said of it."
    few = max(each.n for each in found.values())
    if few < MIN_PAIRS_FOR_A_VERDICT:
        return (
            f"was heard in too few sentences ({few}; it takes {MIN_PAIRS_FOR_A_VERDICT}), so nothing can be said of it."
        )
    doubts = {name: _doubt(run, name, each) for name, each in found.items()}
    if all(doubts.values()):
        return f"cannot be judged: {' '.join(dict.fromkeys(doubts.values()))}"
    return ""


def _differences(comparison: Comparison) -> dict[str, Difference]:
    """The main figures' differences, those without a good side left out."""
    found = {name: each for name, each in comparison.against_base.get(TUNED, {}).items() if each.mean is not None}
    doubted = [name for name, each in found.items() if each.doubt]
    names = [name for name in headlines(found, doubted) if name in _SAID]
    return {name: found[name] for name in names}


def _clauses(comparison: Comparison, doubts: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What is better, and what is worse, by the figures that may judge."""
    figures = measured([comparison])
    good: list[str] = []
    bad: list[str] = []
    for name, difference in _differences(comparison).items():
        if name not in figures or name in doubts:
            continue
        said = difference.verdict(figures[name].direction)
        if said:
            (good if said == "better" else bad).append(_SAID[name][said == "worse"])
    return good, bad


def _sentence(good: Sequence[str], bad: Sequence[str], other: str) -> str:
    clauses = [*good, *bad]
    if not clauses:
        return ""
    first = f"{clauses[0]} than {other}"
    good, bad = ([first, *good[1:]], bad) if good else ([], [first, *bad[1:]])
    return ", but ".join(_joined(each) for each in (good, bad) if each)


def _joined(clauses: Sequence[str]) -> str:
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"


def _doubt(run: Run, name: str, difference: Difference) -> str:
    return difference.doubt or run.result.doubts.get(name) or ""


def _doubts(run: Run) -> str:
    """A sentence for each of the main questions that may not be answered."""
    present = measured([run.result])
    told = []
    for candidates in HEADLINES:
        names = [name for name in candidates if name in present]
        if names and all(name in run.result.doubts for name in names):
            told.append(f" No verdict on “{label(names[0])}”: {run.result.doubts[names[0]]}")
    return "".join(told)
