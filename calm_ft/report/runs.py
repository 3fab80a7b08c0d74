"""The folders of runs, read whole before anything is shown, so that a damaged one leaves no page.

This is the only reader of run.json, config.yaml and metrics.csv in reports, for runs of this version and of earlier
ones. A run's result is that of RUN/evaluation where one was written; else what run.json holds.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from calm_ft.errors import UserError
from calm_ft.metrics.registry import FIGURES
from calm_ft.report.result import (
    EvaluationResult,
    MetricSummary,
    SystemSummary,
    UtteranceRow,
    parse_result,
    read_result,
    read_utterances,
)

EVALUATION = "evaluation"
T = TypeVar("T")
Curve = tuple[tuple[float, float], ...]
"""(step, value) by rising step."""
Residuals = Mapping[str, Mapping[str, float]]
"""Row title -> system -> value, of what the model itself computes."""

_REMEDY = "put the run's own file back, or leave that run out."
_TUNED_VOICE = ", tuned voice"
_OLD_SCORES = {
    "mcd_db": "mcd_db",
    "sentence_id": "sentence_identified",
    "voice_id": "voice_identified",
    "duration_ratio": "duration_ratio",
}
_SAMPLES = ("reference", "base", "tuned")
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        letter: how a report calls it: A, B, C, ...
        name: the end of its folder's path, as long as it takes to tell runs apart.
        record: run.json; config: config.yaml; curves: metrics.csv by column.
        utterances: the clips of the tuned voice, `audio` being a whole path, `text` empty where it was not recorded.
        was_evaluated: False where `result` holds only what an earlier version wrote while it trained: means with
            standard errors, and no differences.
    """

    letter: str
    name: str
    folder: Path
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    curves: Mapping[str, Curve]
    result: EvaluationResult
    utterances: tuple[UtteranceRow, ...] = ()
    was_evaluated: bool = True
    residuals: Residuals = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Letter and name, for a sentence."""
        return f"{self.letter} ({self.name})"


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in the order given, called A, B, C, ...

    Raises UserError where none or the same folder is given twice, one is not a run, or a file of one is damaged.
    """
    if not folders:
        raise UserError("there is nothing to compare: pass the folders of one or more runs.")
    resolved = [folder.resolve() for folder in folders]
    for number, folder in enumerate(resolved):
        if folder in resolved[:number]:
            raise UserError(f"{folders[number]} is given twice: pass each run once.")
    names = names_of(resolved)
    return [_read_run(letters(number), names[number], folder) for number, folder in enumerate(folders)]


def letters(number: int) -> str:
    """A to Z, then AA, AB, ..."""
    rest, last = divmod(number, 26)
    return (letters(rest - 1) if rest else "") + chr(ord("A") + last)


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart: of a/run and b/run both parts, of a/x and a/y the last."""
    longest = max(len(folder.parts) for folder in folders)
    for num_parts in range(1, longest + 1):
        names = ["/".join(folder.parts[-num_parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths have different names")


def _read_run(letter: str, name: str, folder: Path) -> Run:
    path = folder / "run.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a run's folder (it has no run.json): pass the output_dir of a run.")
    record = _parsed(path, _object)
    result = read_result(folder / EVALUATION)
    utterances = () if result is None else tuple(_clips(folder / EVALUATION))
    if result is None and EVALUATION in record:
        result = _checked(path, lambda: parse_result(record[EVALUATION]))
    return Run(
        letter=letter,
        name=name,
        folder=folder,
        record=record,
        config=_config(folder / "config.yaml"),
        curves=_curves(folder / "metrics.csv"),
        result=_checked(path, lambda: _while_training(name, record)) if result is None else result,
        utterances=utterances or tuple(_samples(folder / "samples")),
        was_evaluated=result is not None,
        residuals=_checked(path, lambda: _residuals(record)),
    )


def _clips(folder: Path) -> Iterator[UtteranceRow]:
    """Base voices are told by their figures alone: their sentences are others."""
    for row in read_utterances(folder):
        if row.voice is None:
            yield row.model_copy(update={"audio": str(folder / row.audio)})


def _samples(folder: Path) -> Iterator[UtteranceRow]:
    """Clips that a run without an evaluation left, known by system and number; their texts were not recorded."""
    for path in sorted(folder.glob("*_[0-9][0-9].wav")):
        system, _, number = path.stem.rpartition("_")
        if system in _SAMPLES:
            yield UtteranceRow(system=system, index=int(number), seed=0, text="", audio=str(path), metrics={}, flags={})


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Estimate(_Lenient):
    mean: float | None = None
    standard_error: float | None = None


class _OldScores(_Lenient):
    """What earlier versions wrote of one system at a run's end."""

    mcd_db: _Estimate | None = None
    sentence_id: _Estimate | None = None
    voice_id: _Estimate | None = None
    duration_ratio: _Estimate | None = None
    num_sentences: int = 0
    num_clips: int | None = None
    num_not_ended: int | None = None
    num_silent: int | None = None


class _OldFigures(_Lenient):
    scores: dict[str, _OldScores] = {}
    extra: dict[str, dict[str, float | None]] = {}


def _while_training(name: str, record: Mapping[str, Any]) -> EvaluationResult:
    """What run.json of an earlier version says, with intervals of 1.96 standard errors."""
    old = _OldFigures.model_validate(record.get("figures") or {})
    return EvaluationResult(
        run=name, systems={column.removesuffix(_TUNED_VOICE): _old_system(each) for column, each in old.scores.items()}
    )


def _old_system(old: _OldScores) -> SystemSummary:
    metrics = {}
    for key, name in _OLD_SCORES.items():
        estimate: _Estimate | None = getattr(old, key)
        if estimate is None or estimate.mean is None:
            continue
        half = None if estimate.standard_error is None else _NORMAL_95 * estimate.standard_error
        metrics[name] = MetricSummary(
            mean=estimate.mean,
            median=None,
            low=None if half is None else estimate.mean - half,
            high=None if half is None else estimate.mean + half,
            n=old.num_sentences,
            unit=FIGURES[name].unit,
            direction=FIGURES[name].direction,
        )
    counts = {"utterances": old.num_clips, "runaway": old.num_not_ended, "silent": old.num_silent}
    return SystemSummary(metrics=metrics, counts={key: count for key, count in counts.items() if count is not None})


def _residuals(record: Mapping[str, Any]) -> Residuals:
    """Residuals of this version ("residuals") or of an earlier one ("figures.extra")."""
    if "residuals" not in record:
        old = _OldFigures.model_validate(record.get("figures") or {})
        return {
            title: {column.removesuffix(_TUNED_VOICE): value for column, value in row.items() if value is not None}
            for title, row in old.extra.items()
        }
    rows: dict[str, dict[str, float]] = {}
    content = TypeAdapter(dict[str, dict[str, Any]]).validate_python(record["residuals"])
    for where, systems in (("validation", content), ("base voices", content.get("base_voices", {}))):
        for system in ("base", "tuned"):
            for name, value in TypeAdapter(dict[str, float | None]).validate_python(systems.get(system, {})).items():
                if value is not None:
                    rows.setdefault(f"{where} {name}", {})[system] = value
    return rows


def _config(path: Path) -> dict[str, Any]:
    """The configuration; a run that was killed at its start may have none."""
    if not path.is_file():
        return {}
    content = _parsed(path, yaml.safe_load)
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no settings")
    return content


def _curves(path: Path) -> dict[str, Curve]:
    """The columns of metrics.csv that hold finite numbers; empty cells and what is no number are passed over."""
    if not path.is_file():
        return {}
    rows = _parsed(path, lambda text: list(csv.DictReader(text.splitlines())))
    points: dict[str, dict[float, float]] = {}
    for row in rows:
        if "step" not in row:
            raise _damaged(path, "it has no column step")
        values = {name: _finite(cell) for name, cell in row.items() if isinstance(name, str)}
        step = values.pop("step", None)
        for name, value in values.items():
            if step is not None and value is not None:
                points.setdefault(name, {})[step] = value
    return {name: tuple(sorted(column.items())) for name, column in points.items()}


def _finite(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _parsed(path: Path, parse: Callable[[str], T]) -> T:
    return _checked(path, lambda: parse(path.read_text(encoding="utf-8")))


def _checked(path: Path, read: Callable[[], T]) -> T:
    """What `read` gives. Raises UserError where it finds that the file is damaged."""
    try:
        return read()
    except UnicodeDecodeError as error:
        raise _damaged(path, "it is not UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {_REMEDY}") from error
    except (ValueError, yaml.YAMLError, csv.Error) as error:  # pydantic's and json's errors are ValueErrors
        raise _damaged(path, _first_fault(error)) from error


def _object(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged ({what}): {_REMEDY}")


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:120]
