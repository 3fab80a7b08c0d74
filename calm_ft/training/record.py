"""The files that tell what a run is: run.json, config.yaml, excluded.jsonl. Each is written atomically."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from calm_ft.atomic_file import atomic_path, why_not_a_folder
from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError


class RunRecord:
    """A run's folder and its run.json: status running | finished | interrupted | failed, fingerprints, figures."""

    def __init__(self, output_dir: Path, resume: bool = False) -> None:
        """Nothing is written yet.

        Raises UserError where the folder holds another run (unless it is to be resumed) or other files, or cannot be
        one.
        """
        self.output_dir = output_dir.absolute()
        self.previous: dict[str, Any] = {}
        self._content: dict[str, Any] = {}
        self._started_sec = 0.0
        try:
            self._check(resume)
        except OSError as error:
            raise UserError(_not_writable(output_dir, error.strerror)) from error

    @property
    def tracker_ids(self) -> dict[str, str]:
        """By which trackers find the run that is resumed."""
        return dict(self.previous.get("trackers", {}))

    def finished_value(self, max_steps: int) -> float | None:
        """The figure that a resumed run ended with, if it was finished and is not to go on for more steps."""
        finished = self.previous.get("status") == "finished" and max_steps <= self.previous.get("max_steps", 0)
        return float(self.previous["value"]) if finished else None

    def start(
        self, config: dict[str, Any], exclusions: Iterable[Exclusion], resumed_at: int | None = None, **facts: Any
    ) -> None:
        """Create the folder with run.json, config.yaml and excluded.jsonl.

        run.json comes first: by it a later run knows a folder that a killed one left.

        Raises UserError where the folder cannot be written.
        """
        self._started_sec = time.perf_counter()
        rows = [json.dumps({"path": row.path, "reason": row.reason}, ensure_ascii=False) for row in exclusions]
        history = list(self.previous.get("resumed_at_steps", []))
        if self.previous:
            history.append(resumed_at or 0)
        is_new = not self.output_dir.exists()
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            begun = self.previous.get("started", _now())
            self.update(status="running", started=begun, resumed_at_steps=history, trackers=self.tracker_ids, **facts)
            write_text(self.output_dir / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            write_text(self.output_dir / "excluded.jsonl", "".join(row + "\n" for row in rows))
        except OSError as error:
            if not self.previous:
                self._withdraw(is_new)
            raise UserError(_not_writable(self.output_dir, error.strerror)) from error

    def update(self, **facts: Any) -> None:
        """Add facts and write run.json anew."""
        self._content |= facts
        write_text(self.output_dir / "run.json", json.dumps(self._content, indent=2, ensure_ascii=False) + "\n")

    def finish(self, status: str, **facts: Any) -> None:
        """The last update: how the run ended, when, and after how long."""
        wall_sec = round(time.perf_counter() - self._started_sec, 1)
        self.update(status=status, finished=_now(), wall_sec=wall_sec, **facts)

    def _withdraw(self, is_new: bool) -> None:
        """Takes back what could be written of a folder that could not be begun; left, it would be taken for a run."""
        with suppress(OSError):
            for name in ("excluded.jsonl", "config.yaml", "run.json"):
                (self.output_dir / name).unlink(missing_ok=True)
            if is_new:
                self.output_dir.rmdir()

    def _check(self, resume: bool) -> None:
        path = self.output_dir
        # A killed run's temporary files begin with a dot.
        if path.is_dir() and any(not each.name.startswith(".") for each in path.iterdir()):
            is_run = (path / "run.json").is_file()
            if not is_run or not resume:
                kind, way = ("another run", "continue it with resume=true, ") if is_run else ("other files", "")
                raise UserError(f"output_dir={path} holds {kind}: {way}choose a new folder, or remove that one.")
            self.previous = _read_run(path / "run.json")
        reason = why_not_a_folder(path)
        if reason is not None:
            raise UserError(_not_writable(path, reason))


def _read_run(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged, so the run cannot be resumed: begin anew in another output_dir.")
    return content


def _not_writable(path: Path, reason: str | None) -> str:
    return f"output_dir={path} cannot be written ({reason}): choose a folder that can."


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either whole or not there; a file name in it need not be valid Unicode."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
