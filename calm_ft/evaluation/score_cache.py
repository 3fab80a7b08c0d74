"""Scores that are not measured twice: kept in one file by the clip's content and the metric's identity."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import write_text
from calm_ft.metrics.base import Measurement, Metric, NotMeasured

CACHE_FILE = "scores.json"


class ScoreCache:
    """Read at once, written when `save` is called; an unreadable file counts as none, for it can be measured anew."""

    def __init__(self, path: Path | None = None, others: Sequence[Path] = ()) -> None:
        """`path`: its file; None keeps nothing beyond this process. `others`: files that may know the same clips."""
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        for each in (*others, *([] if path is None else [path])):
            self._known |= _read(each)
        self._used: set[str] = set()

    def get(self, clip_key: str, metric: Metric) -> dict[str, float | NotMeasured] | None:
        """What was measured before, if it was."""
        key = _key(clip_key, metric)
        entry = self._known.get(key)
        if entry is None or entry.keys() != {figure.name for figure in metric.figures}:
            return None
        self._used.add(key)
        return {name: NotMeasured(value) if isinstance(value, str) else value for name, value in entry.items()}

    def put(self, clip_key: str, metric: Metric, measured: Measurement) -> None:
        """Keep a measurement."""
        key = _key(clip_key, metric)
        self._used.add(key)
        self._known[key] = {
            name: value.reason if isinstance(value, NotMeasured) else value for name, value in measured.items()
        }

    def copy_to(self, path: Path, measured: Iterable[tuple[str, Metric]]) -> None:
        """Add what is known of clips, each by a metric, to another file. Raises OSError where it cannot be written."""
        keys = (_key(clip_key, metric) for clip_key, metric in measured)
        own = {key: self._known[key] for key in keys if key in self._known}
        there = _read(path)
        if own.keys() - there.keys():
            write_text(path, json.dumps({**there, **own}, allow_nan=False))

    def save(self) -> None:
        """Write what was used since it was read, so that the file does not grow with every version of a run."""
        if self._path is not None:
            kept: Mapping[str, Any] = {key: self._known[key] for key in sorted(self._used)}
            write_text(self._path, json.dumps(kept, allow_nan=False))


def _key(clip_key: str, metric: Metric) -> str:
    return hashlib.sha256(f"{clip_key} {metric.identity}".encode()).hexdigest()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and all(isinstance(each, dict) for each in content.values()) else {}
