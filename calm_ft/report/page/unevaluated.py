"""What a run that was not evaluated can show: the figures in run.json and the clips in samples/, all of its training's.

There the errors are standard errors over sentences, so that the intervals are the mean plus and minus 1.96 of them;
there are no medians and no paired differences, so nothing can be marked. Texts are not recorded beside the clips.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calm_ft.report.page.figures import Direction, Evaluation, Metric, System, Utterance
from calm_ft.report.page.plain_json import Source

_TUNED_VOICE = ", tuned voice"
_SCORES: dict[str, tuple[str, str, Direction]] = {
    "mcd_db": ("MCD", "dB", "lower"),
    "sentence_id": ("sentence identified", "rate", "higher"),
    "voice_id": ("voice identified", "rate", "higher"),
    "duration_ratio": ("duration / true duration", "", "none"),
}
_COUNTS = {"num_not_ended": "not ended", "num_silent": "silent"}
_SAMPLE = re.compile(r"(reference|base|tuned)_(\d\d)")
_NORMAL_95 = 1.96


def from_training(run_dir: Path, source: Source, record: Mapping[str, Any]) -> Evaluation:
    """The figures of `record`, which is the content of `source`, and the clips in samples/.

    Raises UserError where the figures are not of the form in which training writes them.
    """
    figures = source.part(record, "figures")
    scores, residuals = source.part(figures, "scores"), source.part(figures, "extra")
    columns = dict.fromkeys([*scores, *(name for title in residuals for name in source.part(residuals, title))])
    systems = {
        column.removesuffix(_TUNED_VOICE): System(
            metrics=_residuals(source, residuals, column) | _scores(source, source.part(scores, column)),
            counts=_counts(source, source.part(scores, column)),
        )
        for column in columns
    }
    return Evaluation(systems, tuple(_samples(run_dir / "samples")), was_evaluated=False)


def _scores(source: Source, content: Mapping[str, Any]) -> dict[str, Metric]:
    num = source.count(content, "num_sentences")
    found = {}
    for key, (name, unit, direction) in _SCORES.items():
        score = source.part(content, key)
        mean, error = source.number(score, "mean"), source.number(score, "standard_error")
        if mean is not None:
            low, high = (None, None) if error is None else (mean - _NORMAL_95 * error, mean + _NORMAL_95 * error)
            found[name] = Metric(mean, low, high, None, num, unit, direction)
    return found


def _residuals(source: Source, residuals: Mapping[str, Any], column: str) -> dict[str, Metric]:
    values = {title: source.number(source.part(residuals, title), column) for title in residuals}
    return {title: Metric(value, direction="lower") for title, value in values.items() if value is not None}


def _counts(source: Source, content: Mapping[str, Any]) -> dict[str, int]:
    return {name: number for key, name in _COUNTS.items() if (number := source.count(content, key)) is not None}


def _samples(folder: Path) -> list[Utterance]:
    """The clips in the tuned voice, which are those named by system and number alone."""
    named = [(path, match) for path in sorted(folder.glob("*.wav")) if (match := _SAMPLE.fullmatch(path.stem))]
    return [Utterance(match[1], int(match[2]), 0, None, path) for path, match in named]
