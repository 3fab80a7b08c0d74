"""The files of a prepared dataset, read a line at a time: clips that are kept, clips that are left out, problems."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calm_ft.data.utterance import DEFAULT_SPEAKER, printable
from calm_ft.errors import UserError
from calm_ft.preparation.clips import Problem, Severity
from calm_ft.preparation.dataset import EXCLUDED, HELDOUT, MANIFEST, PREPARE, PROBLEMS

LEFT_OUT = "left out"
HELD_OUT = "held out"
FILES = (MANIFEST, HELDOUT, EXCLUDED, PROBLEMS, PREPARE)
"""What a page is made of, beside the audio."""
_SPLITS = {"heldout": HELD_OUT}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class ClipRow:
    """One clip: what it says, where its audio is (relative to the dataset, or absolute) and what was measured.

    `split` is train, validation, held out or left out; `reason` is set for what is left out. `problems` are kinds.
    """

    id: str
    path: str
    text: str = ""
    speaker: str = DEFAULT_SPEAKER
    split: str = "train"
    source: str = ""
    source_start_sec: float | None = None
    source_end_sec: float | None = None
    original_text: str = ""
    reason: str = ""
    duration_sec: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    language: str = ""
    num_tokens: float | None = None

    @property
    def is_kept(self) -> bool:
        return self.split != LEFT_OUT

    def measure(self, name: str) -> float | None:
        """None where it is not known, or no finite number."""
        return _finite(self.measures.get(name))

    @property
    def recorded_sec(self) -> float | None:
        """How much of its recording the clip holds: its length without the silence that was put around it."""
        if self.source_start_sec is None or self.source_end_sec is None:
            return self.duration_sec
        return self.source_end_sec - self.source_start_sec

    @property
    def characters_per_sec(self) -> float | None:
        """Of the whole text over the whole clip, its silence included."""
        return len(self.text) / self.duration_sec if self.text and self.duration_sec else None


def check_dataset(dataset_dir: Path) -> None:
    """Raises UserError where the folder holds no prepared dataset."""
    if not (dataset_dir / MANIFEST).is_file():
        raise UserError(
            f"{dataset_dir} holds no prepared dataset (no manifest.jsonl): pass the folder that prepare.py wrote."
        )


def clip_rows(dataset_dir: Path) -> Iterator[ClipRow]:
    """All clips in the order of manifest.jsonl, heldout.jsonl and excluded.jsonl; a missing file has none.

    Raises UserError, with file and line, for a line that is no JSON object.
    """
    # A clip that a person let back in keeps its row in excluded.jsonl.
    let_in = {str(row.get("id")) for row in _json_lines(dataset_dir / EXCLUDED) if row.get("use") is True}
    for name, split in ((MANIFEST, "train"), (HELDOUT, HELD_OUT)):
        for row in _json_lines(dataset_dir / name):
            clip = _kept(row, split)
            let_in.discard(clip.id)
            yield clip
    for row in _json_lines(dataset_dir / EXCLUDED):
        if row.get("use") is not True or str(row.get("id")) in let_in:
            yield _left_out(row)


def problems(dataset_dir: Path) -> list[tuple[Problem, int]]:
    """The problems with the number of their clips, the gravest first and those of many clips before those of few.

    problems.json may name fewer clips than it counts.
    """
    found = []
    for row in _json_file(dataset_dir / PROBLEMS, []):
        if not (isinstance(row, dict) and row.get("kind")):
            continue
        kind, clips = str(row["kind"]), tuple(map(str, row.get("clips") or ()))
        severity: Severity = row["severity"] if row.get("severity") in SEVERITIES else "note"
        title, details = str(row.get("title") or kind.replace("_", " ")), tuple(map(str, row.get("details") or ()))
        problem = Problem(kind, severity, title, clips, str(row.get("mend") or ""), details)
        found.append((problem, int(row.get("count") or len(clips))))
    return sorted(found, key=lambda each: (SEVERITIES.index(each[0].severity), -each[1]))


def record(dataset_dir: Path) -> dict[str, Any]:
    """What prepare.json says of settings, totals, versions and times; empty where there is none."""
    found = _json_file(dataset_dir / PREPARE, {})
    return found if isinstance(found, dict) else {}


def _kept(row: Mapping[str, Any], split: str) -> ClipRow:
    measures = row.get("measures") if isinstance(row.get("measures"), dict) else {}
    path = str(row.get("path") or "")
    text, named = str(row.get("text") or ""), str(row.get("split") or split)
    return ClipRow(
        id=str(row.get("id") or path),
        path=path,
        text=text,
        speaker=str(row.get("speaker") or DEFAULT_SPEAKER),
        language=str(row.get("language") or ""),
        split=_SPLITS.get(named, named),
        source=printable(str(row.get("source") or "")),
        source_start_sec=_finite(row.get("source_start_sec")),
        source_end_sec=_finite(row.get("source_end_sec")),
        original_text=str(row.get("original_text") or ""),
        duration_sec=_finite(row.get("duration_sec")) or _finite((measures or {}).get("duration_sec")),
        measures=measures or {},
        num_tokens=_finite(row.get("num_tokens")),
        problems=tuple(map(str, row.get("problems") or ())),
    )


def _left_out(row: Mapping[str, Any]) -> ClipRow:
    """A row of excluded.jsonl, which may have the keys of a kept clip too."""
    clip = _kept(row, LEFT_OUT)
    kinds = dict.fromkeys([*([str(row["kind"])] if row.get("kind") else []), *clip.problems])
    return ClipRow(
        **{**vars(clip), "split": LEFT_OUT, "problems": tuple(kinds)}
        | {"reason": printable(str(row.get("reason") or "")), "source": clip.source or printable(clip.path)}
        | {"speaker": str(row.get("speaker") or "")}
    )


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is no JSON object: mend or delete that line.")
            yield row


def _json_file(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is no JSON: run prepare.py again, which writes it anew.") from None
