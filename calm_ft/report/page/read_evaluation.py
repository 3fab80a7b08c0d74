"""`RUN/evaluation/summary.json` and `utterances.jsonl`, as `scripts/evaluate.py` writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calm_ft.commands import command_line
from calm_ft.report.page.figures import Difference, Direction, Evaluation, Metric, System, Utterance
from calm_ft.report.page.plain_json import Source

FOLDER = "evaluation"
SPEED, FIRST_AUDIO = "rtf", "time_to_first_audio_sec"
"""Also told as metrics. They are shown once, as a system's own: two runs time the same base differently, and a paired
difference of them says more of the machine's other work than of the weights."""
TIMINGS = (SPEED, FIRST_AUDIO)
REMEDY = f"write it anew with `{command_line('evaluate')} RUN`."
_DIRECTIONS: dict[object, Direction] = {None: "none", "none": "none", "lower": "lower", "higher": "higher"}


def read_evaluation(run_dir: Path) -> Evaluation | None:
    """The run's evaluation; None where it has none.

    Raises UserError where a file of it is missing, damaged, or does not fit the schema.
    """
    folder = run_dir / FOLDER
    if not folder.is_dir():
        return None
    summary = Source(folder / "summary.json", REMEDY)
    content = summary.mapping()
    utterances = Source(folder / "utterances.jsonl", REMEDY)
    return Evaluation(
        systems=_systems(summary, content),
        # Base voices are told by their figures alone: their sentences are others.
        utterances=tuple(_utterance(utterances, row, folder) for row in utterances.lines() if row.get("voice") is None),
        missing=_reasons(summary, content),
        protocol=summary.part(content, "protocol"),
        base_voices=_systems(summary, summary.part(content, "base_voices")),
    )


def _systems(source: Source, content: Mapping[str, Any]) -> dict[str, System]:
    systems, differences = source.part(content, "systems"), source.part(content, "against_base")
    return {name: _system(source, source.part(systems, name), source.part(differences, name)) for name in systems}


def _system(source: Source, content: Mapping[str, Any], differences: Mapping[str, Any]) -> System:
    metrics, counts = source.part(content, "metrics"), source.part(content, "counts")
    rtf = content.get(SPEED)
    return System(
        metrics={name: _metric(source, source.part(metrics, name)) for name in metrics if name not in TIMINGS},
        counts={name: number for name in counts if (number := source.count(counts, name)) is not None},
        rtf=source.number(rtf, "mean") if isinstance(rtf, dict) else source.number(content, SPEED),
        first_audio_sec=source.number(source.part(metrics, FIRST_AUDIO), "mean"),
        differences={name: _difference(source, source.part(differences, name)) for name in differences},
    )


def _metric(source: Source, content: Mapping[str, Any]) -> Metric:
    mean, low, high, median = (source.number(content, key) for key in ("mean", "low", "high", "median"))
    direction = content.get("direction")
    if not (direction is None or isinstance(direction, str)) or direction not in _DIRECTIONS:
        raise source.damaged("a direction is none of lower, higher, none")
    unit = str(content.get("unit") or "")
    return Metric(mean, low, high, median, source.count(content, "n"), unit, _DIRECTIONS[direction])


def _difference(source: Source, content: Mapping[str, Any]) -> Difference:
    mean, low, high = (source.number(content, key) for key in ("mean", "low", "high"))
    better = content.get("better")
    if better not in (True, False, None):
        raise source.damaged("better is none of true, false, null")
    return Difference(mean, low, high, source.count(content, "n"), better)


def _utterance(source: Source, row: Mapping[str, Any], folder: Path) -> Utterance:
    metrics, flags = source.part(row, "metrics"), source.part(row, "flags")
    return Utterance(
        system=source.string(row, "system"),
        index=source.count(row, "index") or 0,
        seed=source.count(row, "seed") or 0,
        text=source.string(row, "text"),
        audio=folder / source.string(row, "audio"),
        metrics={name: source.number(metrics, name) for name in metrics if name not in TIMINGS},
        missing=_reasons(source, row),
        flags=tuple(name for name, is_set in flags.items() if is_set is True),
    )


def _reasons(source: Source, content: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(reason) for name, reason in source.part(content, "missing").items()}
