"""The lock on a run's folder, so that two runs never write into the same one.

The operating system frees the lock when its holder ends, however that comes, so a killed run blocks nobody. Its file
`.lock` names the process that holds it, and is removed when a run ends by itself.
"""

import errno
import json
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from calm_ft.errors import UserError

LOCK_NAME = ".lock"
PATIENCE_SEC = 1.0  # longer than `is_locked` in another process holds the lock
POLL_SEC = 0.05
CANNOT_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks answer."""


class RunLock:
    """The lock of one run; on a file system that has no locks, the run goes on without one."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._path = run_dir / LOCK_NAME
        self._lock = FileLock(self._path)

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def acquire(self) -> None:
        """Raises UserError where another run holds the lock, OSError where its file cannot be made."""
        if self.is_held:
            return
        try:
            self._lock.acquire(timeout=PATIENCE_SEC, poll_interval=POLL_SEC)
        except Timeout:
            raise self._refusal() from None
        except OSError as error:
            if error.errno not in CANNOT_LOCK:
                raise
            return
        if not isinstance(self._lock, SoftFileLock):  # which writes into its file itself
            with suppress(OSError):
                self._path.write_text(json.dumps(this_process()), encoding="utf-8")

    def refuse_if_held(self) -> None:
        """Raises UserError where another run holds the lock."""
        if is_locked(self._run_dir):
            raise self._refusal()

    def release(self) -> None:
        """Remove the file and unlock; in this order, since whoever waits for a removed file looks for a new one."""
        if not self.is_held:
            return
        if not isinstance(self._lock, SoftFileLock):
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._lock.release()

    def _refusal(self) -> UserError:
        who = ""
        with suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(self._path.read_text(encoding="utf-8"))
            who = f" (process {holder['pid']} on {holder['host']})"
        return UserError(
            f"output_dir={self._run_dir} is in use by another run{who}: wait until it has ended, or choose a new "
            "folder."
        )


def is_locked(run_dir: Path) -> bool:
    """Whether a run holds the folder at this moment; also True where that cannot be found out."""
    path = run_dir / LOCK_NAME
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def this_process() -> dict[str, Any]:
    """By what another process can tell whether this one is still there."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def is_alive(pid: int) -> bool:
    """Whether this machine has such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_abandoned(run_dir: Path) -> None:
    """Delete the temporary files that a killed run left behind: their names begin with a dot."""
    for folder in (run_dir, run_dir / "checkpoints", run_dir / "samples"):
        for path in folder.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK_NAME:
                path.unlink(missing_ok=True)
