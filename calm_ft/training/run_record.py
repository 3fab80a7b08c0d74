"""The files that tell what a run is: run.json, config.yaml, excluded.jsonl. Each is written atomically."""

import json
import os
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError


class RunRecord:
    """A run's folder and its run.json: status running | finished | interrupted | failed, fingerprints, figures."""

    def __init__(self, output_dir: Path) -> None:
        """Nothing is written yet; raises UserError where the folder holds another run or files, or cannot be one."""
        self.output_dir = output_dir.absolute()
        self._content: dict[str, Any] = {}
        self._started_sec = 0.0
        try:
            self._check()
        except OSError as error:
            raise UserError(_not_writable(output_dir, error.strerror)) from error

    def start(self, config: dict[str, Any], exclusions: Iterable[Exclusion], **facts: Any) -> None:
        """Create the folder with config.yaml, excluded.jsonl and run.json.

        Raises UserError where the folder cannot be written.
        """
        self._started_sec = time.perf_counter()
        rows = [json.dumps({"path": row.path, "reason": row.reason}, ensure_ascii=False) for row in exclusions]
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            write_text(self.output_dir / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            write_text(self.output_dir / "excluded.jsonl", "".join(row + "\n" for row in rows))
            self.update(status="running", started=_now(), **facts)
        except OSError as error:
            raise UserError(_not_writable(self.output_dir, error.strerror)) from error

    def update(self, **facts: Any) -> None:
        """Add facts and write run.json anew."""
        self._content |= facts
        write_text(self.output_dir / "run.json", json.dumps(self._content, indent=2, ensure_ascii=False) + "\n")

    def finish(self, status: str, **facts: Any) -> None:
        """The last update: how the run ended, when, and after how long."""
        wall_sec = round(time.perf_counter() - self._started_sec, 1)
        self.update(status=status, finished=_now(), wall_sec=wall_sec, **facts)

    def _check(self) -> None:
        path = self.output_dir
        if path.is_dir() and any(path.iterdir()):
            kind = "another run" if (path / "run.json").exists() else "other files"
            raise UserError(f"output_dir={path} holds {kind}: choose a new folder, or remove that one.")
        existing = next(each for each in (path, *path.parents) if each.exists())
        if not existing.is_dir():
            raise UserError(f"output_dir={path} cannot be made, for {existing} is a file: choose a folder.")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise UserError(_not_writable(path, "permission denied"))


def _not_writable(path: Path, reason: str | None) -> str:
    return f"output_dir={path} cannot be written ({reason}): choose a folder that can."


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either whole or not there."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(temporary, path)
