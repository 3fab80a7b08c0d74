"""A sweep's folder: which jobs there are, in which folders they run, and how each of them ended.

A job is known by its settings, not by its number. Each file is written whole, so that it can be read at any time.
"""

import hashlib
import json
import os
import shlex
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from calm_ft.atomic_file import why_not_a_folder, write_text
from calm_ft.errors import UserError

FINISHED, FAILED, INTERRUPTED, RUNNING, WAITING = "finished", "failed", "interrupted", "running", "waiting"
SKIPPED, CONTINUED, RUN = "skipped", "continued", "run"
SHAPELESS = ("output_dir", "resume", "logger", "sweep_value")
"""Settings that do not change what a run learns."""


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    `label`: the overrides that tell it from others; `settings`: the fingerprint by which it is known; `call`: the last
    start of the sweep that came to it; `plan`: what that did (skipped, continued, run); `reason`: why it failed; `pid`
    and `host`: where it runs.
    """

    number: int
    overrides: tuple[str, ...]
    label: str
    settings: str
    call: int
    status: str = WAITING
    plan: str = ""
    reason: str = ""
    is_users_fault: bool = False
    value: float | None = None
    pid: int = 0
    host: str = ""


class Sweep:
    """The folder of a sweep; nothing is written before `begin`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether the folder is a sweep's."""
        return self._state_file.is_file()

    def check(self) -> None:
        """Raises UserError where the folder is no sweep's, or cannot be written."""
        if not self.exists and self.folder.is_dir() and any(self.folder.iterdir()):
            raise UserError(
                f"output_dir={self.folder} holds other files and is no sweep's folder: choose another for the sweep."
            )
        reason = why_not_a_folder(self.folder)
        if reason is not None:
            raise UserError(f"output_dir={self.folder} cannot be written ({reason}): choose a folder that can.")

    def begin(self, command: list[str]) -> None:
        """Note that this process begins the sweep, or goes on with it."""
        call = self.call + 1
        self._write_state(
            {"command": command, "call": call, "stopped": False, "pid": os.getpid(), "host": socket.gethostname()}
        )

    def withdraw(self) -> None:
        """Remove the folder again where no job came to be, as after a misspelled setting."""
        if not self.jobs():
            for path in sorted(self.folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            self.folder.rmdir()

    @property
    def call(self) -> int:
        """How many times the sweep was begun."""
        return int(self._state().get("call", 0))

    @property
    def stopped(self) -> bool:
        """Whether jobs that have not begun yet are not to begin."""
        return bool(self._state().get("stopped"))

    @property
    def is_mine(self) -> bool:
        """Whether this process is the one that began the sweep, not one that runs a job for it."""
        state = self._state()
        return (state.get("pid"), state.get("host")) == (os.getpid(), socket.gethostname())

    def stop(self) -> None:
        """Let no further job begin."""
        self._write_state({**self._state(), "stopped": True})

    def run_dir(self, job: Job) -> Path:
        return self.folder.with_name(f"{self.folder.name}-{job.number}")

    def log_file(self, job: Job) -> Path:
        return self.folder / "jobs" / f"{job.number}.log"

    def jobs(self) -> list[Job]:
        """All jobs that the sweep ever had, by number."""
        files = sorted((self.folder / "jobs").glob("*.json"), key=lambda path: int(path.stem))
        return [_read_job(path) for path in files]

    def jobs_of_this_call(self) -> list[Job]:
        return [job for job in self.jobs() if job.call == self.call]

    def claim(self, settings: str, overrides: list[str], number: int) -> Job:
        """The job of these settings: the one that was begun before, or a new one.

        A new one gets the first number that is free, from `number` on.
        Several processes may ask at once.
        """
        with FileLock(self.folder / ".lock"):
            jobs, call, label = self.jobs(), self.call, self._label(overrides)
            known = [job for job in jobs if job.settings == settings]
            if known:
                job = replace(known[0], overrides=tuple(overrides), label=label, call=call)
            else:
                taken = {job.number for job in jobs}
                while number in taken:
                    number += 1
                job = Job(number, tuple(overrides), label, settings, call)
            self.write(job)
        return job

    def _label(self, overrides: list[str]) -> str:
        """What the command does not set for all jobs alike; Hydra writes values in a form of its own (true, True)."""
        given = dict(each.lstrip("+").partition("=")[::2] for each in self._state().get("command", []))
        own = {each: given.get(each.lstrip("+").partition("=")[0]) for each in overrides}
        return shlex.join(each for each, value in own.items() if value is None or any(sign in value for sign in ",("))

    def lock(self, job: Job) -> FileLock:
        """Held by the one process that works on the job; freed by the system where that is killed."""
        return FileLock(self.folder / "jobs" / f".{job.number}.lock")

    def write(self, job: Job) -> None:
        write_text(self.folder / "jobs" / f"{job.number}.json", json.dumps(asdict(job), indent=2) + "\n")

    def job(self, number: int) -> Job:
        """A job as it was last written."""
        return _read_job(self.folder / "jobs" / f"{number}.json")

    @property
    def _state_file(self) -> Path:
        return self.folder / "sweep.json"

    def _state(self) -> dict[str, Any]:
        return _read_json(self._state_file) if self.exists else {}

    def _write_state(self, state: dict[str, Any]) -> None:
        write_text(self._state_file, json.dumps(state, indent=2) + "\n")


def _read_job(path: Path) -> Job:
    content = _read_json(path)
    try:
        return Job(**{**content, "overrides": tuple(content["overrides"])})
    except (KeyError, TypeError) as error:
        raise _damaged(path) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: remove it, or begin the sweep in another output_dir.")


def settings_fingerprint(config: Mapping[str, Any], also_ignored: tuple[str, ...] = ()) -> str:
    """A hash of the settings that shape a run: two runs with the same hash learn the same."""
    shaping = {key: value for key, value in config.items() if key not in (*SHAPELESS, *also_ignored)}
    return hashlib.sha256(json.dumps(shaping, sort_keys=True, default=str).encode()).hexdigest()[:16]


def fingerprint_of_run(run_dir: Path) -> str | None:
    """The settings fingerprint of the run in a folder; None where it has no readable configuration."""
    try:
        config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None
    return settings_fingerprint(config) if isinstance(config, dict) else None
