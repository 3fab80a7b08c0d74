"""A run's folder: run.json, config.yaml and excluded.jsonl, each written atomically, and the lock on the folder.

run.json holds where the figures come from (code, packages, data, settings), how the run ended, and its times. A run may
have several stretches, one for each time that it was resumed: `training_sec`, `wall_sec` and `num_steps` are those of
the whole run, `stretches` has each one's own. The times are what was spent, so steps that were lost when a run was
killed, and done again, count twice.
"""

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import yaml

from calm_ft.adapters import registry
from calm_ft.atomic_file import why_not_a_folder, write_text
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError
from calm_ft.training.run_lock import RunLock, is_alive, is_locked, this_process

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "transformers", "peft", "lightning", "numpy")
RUNNING, KILLED = "running", "killed"


class RunRecord:
    """A run's folder, locked while the run goes on: use it as a context manager, or call `close`.

    status in run.json: running | finished | interrupted | failed; `run_status` also tells killed.
    """

    def __init__(self, output_dir: Path, resume: bool = False) -> None:
        """Check the folder and lock it if it holds a run to be resumed; nothing else is written yet.

        Raises UserError where the folder is in use, holds another run (unless it is to be resumed) or other files, or
        cannot be one.
        """
        self.output_dir = output_dir.absolute()
        self.previous: dict[str, Any] = {}
        self._content: dict[str, Any] = {}
        self._lock = RunLock(self.output_dir)
        self._stretches: list[dict[str, Any]] = []
        self._started_sec = 0.0
        try:
            self._check(resume)
        except OSError as error:
            raise UserError(_not_writable(output_dir, error.strerror)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the folder; nothing is written afterwards."""
        self._lock.release()

    @property
    def tracker_ids(self) -> dict[str, str]:
        """The ids by which trackers find the run that is resumed."""
        return dict(self.previous.get("trackers", {}))

    @property
    def training_sec(self) -> float:
        """Training time of the whole run so far, as it was last noted."""
        return _total(self._stretches, "training_sec")

    def finished_value(self, max_steps: int) -> float | None:
        """The value that the resumed run ended with, if it was finished and is not to be made longer."""
        finished = self.previous.get("status") == "finished" and max_steps <= self.previous.get("max_steps", 0)
        return float(self.previous["value"]) if finished else None

    def start(
        self, config: dict[str, Any], exclusions: Iterable[Exclusion], resumed_at: int | None = None, **facts: Any
    ) -> None:
        """Create the folder, lock it, and write run.json, config.yaml and excluded.jsonl.

        run.json comes first: by it a later run recognises a folder that a killed one left.

        Args:
            resumed_at: the step of the checkpoint that is resumed from, None for the beginning.

        Raises UserError where another run has taken the folder meanwhile, and where it cannot be written.
        """
        rows = [json.dumps(asdict(row), ensure_ascii=False) for row in exclusions]
        history = [*self.previous.get("resumed_at_steps", []), *([resumed_at or 0] if self.previous else [])]
        self._begin_stretch(resumed_at or 0)
        is_new = not self.output_dir.exists()
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            if not self.previous:
                self._check_again()
        except OSError as error:
            raise UserError(_not_writable(self.output_dir, error.strerror)) from error
        try:
            self.update(
                status=RUNNING,
                started=self.previous.get("started", self._stretches[-1]["started"]),
                process={**this_process(), "locked": self._lock.is_held},
                resumed_at_steps=history,
                trackers=self.tracker_ids,
                **facts,
            )
            self._write("config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            self._write("excluded.jsonl", "".join(row + "\n" for row in rows))
        except OSError as error:
            if not self.previous:
                self._withdraw(is_new)
            raise UserError(_not_writable(self.output_dir, error.strerror)) from error

    def note_training(self, step: int, training_sec: float) -> None:
        """Write down how far this stretch has come: optimizer steps of the whole run, training time of the stretch.

        A disk that is full is no reason to end training here; the next checkpoint will say so.
        """
        self._stretches[-1] |= {"last_step": step, "training_sec": round(training_sec, 1)}
        with suppress(OSError):
            self.update()

    def update(self, **facts: Any) -> None:
        """Add facts and write run.json anew."""
        self._stretches[-1]["wall_sec"] = round(time.perf_counter() - self._started_sec, 1)
        times = {
            "num_steps": self._stretches[-1]["last_step"],
            "training_sec": _total(self._stretches, "training_sec"),
            "wall_sec": _total(self._stretches, "wall_sec"),
            "stretches": self._stretches,
        }
        self._content |= {**facts, **times}
        self._write("run.json", json.dumps(self._content, indent=2, ensure_ascii=False) + "\n")

    def finish(self, status: str, **facts: Any) -> None:
        """The last update: how the run ended, and when."""
        self.update(status=status, finished=_now(), **facts)

    def _begin_stretch(self, step: int) -> None:
        earlier = self.previous.get("stretches")
        if earlier is None and "wall_sec" in self.previous:  # written before stretches were
            names = ("started", "training_sec", "wall_sec")
            earlier = [{**{n: self.previous.get(n, 0.0) for n in names}, "first_step": 0, "last_step": step}]
        own = {"started": _now(), "first_step": step, "last_step": step, "training_sec": 0.0, "wall_sec": 0.0}
        self._stretches = [*(earlier or []), own]
        self._started_sec = time.perf_counter()

    def _write(self, name: str, text: str) -> None:
        # A file name in the text need not be valid Unicode.
        write_text(self.output_dir / name, text.encode("utf-8", "backslashreplace").decode("utf-8"))

    def _withdraw(self, is_new: bool) -> None:
        """Remove what was written of a folder that could not be finished; left, it would be taken for a run."""
        with suppress(OSError):
            for name in ("excluded.jsonl", "config.yaml", "run.json"):
                (self.output_dir / name).unlink(missing_ok=True)
            self._lock.release()
            if is_new:
                self.output_dir.rmdir()

    def _check(self, resume: bool) -> None:
        path = self.output_dir
        self._lock.refuse_if_held()
        self._refuse_content(resume)
        reason = why_not_a_folder(path)
        if reason is not None:
            raise UserError(_not_writable(path, reason))
        if (path / "run.json").is_file():
            self._lock.acquire()
            try:
                self.previous = _read_run(path / "run.json")
            except BaseException:
                self._lock.release()
                raise

    def _check_again(self) -> None:
        """Raises UserError, without the lock, where another run came and went since the folder was checked."""
        try:
            self._refuse_content(resume=False)
        except UserError:
            self._lock.release()
            raise

    def _refuse_content(self, resume: bool) -> None:
        """Raises UserError where the folder holds anything but temporary files and, to be resumed, a run."""
        path = self.output_dir
        if not path.is_dir() or all(each.name.startswith(".") for each in path.iterdir()):
            return
        is_run = (path / "run.json").is_file()
        if not is_run or not resume:
            kind, way = ("another run", "continue it with resume=true, ") if is_run else ("other files", "")
            raise UserError(f"output_dir={path} holds {kind}: {way}choose a new folder, or remove that one.")


def run_status(run_dir: Path) -> str:
    """What run.json says, or "killed" where it says running but the process has ended on this machine.

    Raises UserError where run.json is damaged.
    """
    content = _read_run(run_dir / "run.json")
    status, process = str(content.get("status")), content.get("process", {})
    if status != RUNNING or process.get("host") != socket.gethostname():
        return status
    goes_on = is_locked(run_dir) if process.get("locked") else is_alive(process["pid"])
    return RUNNING if goes_on else KILLED


def code_version() -> str:
    """The git commit of a checkout, `-dirty` where it was changed; else the package's version."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        try:
            found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        except OSError:
            return version("calm_ft")
        if found.returncode == 0:
            return found.stdout.strip()
    return version("calm_ft")


def package_versions() -> dict[str, str]:
    """Versions of the packages that shape the result."""
    versions = {}
    for name in (*PACKAGES, *registry.packages()):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def data_fingerprint(clips: Sequence[EncodedUtterance]) -> str:
    """A hash of the clips' audio (by their keys), texts and languages, whatever their order, names and place."""
    rows = sorted(f"{clip.key}\0{clip.utterance.text}\0{clip.utterance.language}" for clip in clips)
    return hashlib.sha256("".join(rows).encode()).hexdigest()[:24]


def _total(stretches: Sequence[dict[str, Any]], name: str) -> float:
    return round(sum(float(each[name]) for each in stretches), 1)


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
