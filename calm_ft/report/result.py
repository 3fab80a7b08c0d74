"""The result of an evaluation: one schema for a step in training, the end of a run and `scripts/evaluate.py`.

It is written as `summary.json` in an evaluation's folder and under "evaluation" in run.json, and read back by
`read_result` alone, which also reads what was written before the schema had a version.

`mean`, its 95 % interval `low` to `high` and `n` are over sentences, `median` is over clips; None where there are too
few. A difference is system minus base over pairs of the same sentence and noise.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calm_ft.errors import UserError
from calm_ft.metrics.base import Direction

REFERENCE, CODEC, BASE, TUNED = "reference", "codec", "base", "tuned"
FLAGS = ("runaway", "silent", "truncated")
SCHEMA_VERSION: Literal[2] = 2
SUMMARY, UTTERANCES, AUDIO = "summary.json", "utterances.jsonl", "audio"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SeedSpread(_Model):
    """Standard deviation and range of the means of single seeds."""

    std: float
    low: float
    high: float
    num_seeds: int


class MetricSummary(_Model):
    """One figure of one system; `seeds` is None with one seed."""

    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    direction: Direction
    seeds: SeedSpread | None = None


class SystemSummary(_Model):
    """One system: figures by name, counts of utterances and of each flag, seconds of generation a second of audio."""

    metrics: dict[str, MetricSummary]
    counts: dict[str, int]
    rtf: float | None = None

    def mean(self, name: str) -> float | None:
        """A figure's mean; None where it was not measured."""
        figure = self.metrics.get(name)
        return None if figure is None else figure.mean


class Difference(_Model):
    """A paired difference from the base.

    `better` is true where its interval excludes zero on the good side, false where it does not, and None where nothing
    may be said: too few pairs, a figure with no good side, or a `doubt` about the figure.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    better: bool | None = None
    doubt: str | None = None

    def verdict(self, direction: Direction) -> Literal["better", "worse", ""]:
        """What may be said of the difference."""
        if self.better is None or self.low is None or self.high is None:
            return ""
        if self.better:
            return "better"
        is_worse = self.low > 0 if direction == "lower" else self.high < 0
        return "worse" if is_worse else ""


class Comparison(_Model):
    """Systems side by side with their paired differences from the base."""

    systems: dict[str, SystemSummary]
    against_base: dict[str, dict[str, Difference]] = Field(default_factory=dict)


class BaseVoicesResult(Comparison):
    """The same in voices that were not tuned to; without any there is a `reason` and nothing else."""

    names: list[str] = Field(default_factory=list)
    num_clips: int = 0
    reason: str | None = None
    systems: dict[str, SystemSummary] = Field(default_factory=dict)


class ExcludedClip(_Model):
    """A recording that was to be evaluated on and cannot be used."""

    path: str
    reason: str


class EvaluationResult(Comparison):
    """What an evaluation found.

    Attributes:
        run: what was evaluated, as it was named.
        step: optimizer steps of the weights that spoke as "tuned"; None where that is not known.
        missing: figure -> why it could not be measured.
        doubts: figure -> why it may not judge here, such as a recogniser that errs on the recordings themselves.
        warnings: what went wrong with the speech and must not be overlooked, one sentence each.
        notes: what else a reader should know, such as where the codec is the limit.
        timing: when and on what machine the systems were timed.
        protocol: what was said, in which voice, by which rules.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    run: str
    step: int | None = None
    missing: dict[str, str] = Field(default_factory=dict)
    doubts: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    base_voices: BaseVoicesResult = Field(default_factory=lambda: BaseVoicesResult(reason="they were not asked for."))
    excluded: list[ExcludedClip] = Field(default_factory=list)
    timing: dict[str, Any] = Field(default_factory=dict)
    protocol: dict[str, Any] = Field(default_factory=dict)

    def to_json(self) -> str:
        """The content of summary.json."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


class UtteranceRow(_Model):
    """One clip: a line of utterances.jsonl. `audio` is a path relative to that file, `voice` a base voice's name."""

    system: str
    voice: str | None = None
    index: int
    seed: int
    text: str
    audio: str
    metrics: dict[str, float | None]
    missing: dict[str, str] = Field(default_factory=dict)
    flags: dict[str, bool]


def parse_result(content: Any) -> EvaluationResult:
    """A result from plain JSON content, of this version or of the one before.

    Raises ValueError where it is none.
    """
    if not isinstance(content, Mapping):
        raise ValueError("it is no JSON object")
    if content.get("schema_version", 1) not in (1, SCHEMA_VERSION):
        raise ValueError(f"its schema_version is {content['schema_version']}, which a later version of calm_ft wrote")
    return EvaluationResult.model_validate({**content, "schema_version": SCHEMA_VERSION})


def read_result(folder: Path) -> EvaluationResult | None:
    """The result in an evaluation's folder; None where none was written.

    Raises UserError where it is damaged.
    """
    path = folder / SUMMARY
    if not path.is_file():
        return None
    try:
        return parse_result(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise UserError(f"{path} is damaged ({_first_fault(error)}): evaluate the run again.") from error


def read_utterances(folder: Path) -> list[UtteranceRow]:
    """The clips of an evaluation's folder.

    Raises UserError where the file is missing or damaged.
    """
    path = folder / UTTERANCES
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [UtteranceRow.model_validate_json(line) for line in lines]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({_first_fault(error)}): evaluate the run again.") from error


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:120]
