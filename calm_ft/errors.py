"""The one exception that is the user's to mend, and the outer wrapper of all commands around it.

Whatever raises `UserError` says in one sentence what is wrong, where, and how to mend it. The wrapper prints that
sentence and exits with code 2; every other exception is a bug and keeps its traceback (code 1).
"""

import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Input that cannot be used: a missing folder, an unknown model name, a negative rate."""


def exit_with(message: str) -> NoReturn:
    """Say one sentence on stderr and exit with code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def accept_any_console() -> None:
    """Let this process print any text: what the console's encoding lacks is written as an escape such as \\xfc.

    Without this a name with an umlaut ends a run under cron, PYTHONIOENCODING=ascii or on an old Windows console. Lines
    are written as soon as they are whole, so that a log file can be followed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def let_threads_sleep() -> None:
    """Let OpenMP's threads wait for their next task by sleeping, after some 30 microseconds of spinning.

    Threads that spin for long stall each other beside any other busy program. Threads that sleep at once cost a small
    model a quarter of its speed, because its tasks are short. Must be called before torch is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}


def run_script(main: Callable[[], object]) -> None:
    """Run the main function of a command with the exit codes that people and shells rely on."""
    accept_any_console()
    let_threads_sleep()
    try:
        main()
    except UserError as error:
        exit_with(str(error))
