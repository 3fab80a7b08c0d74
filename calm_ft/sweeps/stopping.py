"""Ctrl-C in a sweep whose jobs run in other processes: they save, no other begins, and then the sweep ends.

A launcher that is interrupted kills its processes while they save. So the first signal is kept from it: the process
that began the sweep passes it on to the jobs, and waits for them. A second one is Python's own.
"""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from calm_ft.sweeps.folder import RUNNING, Sweep

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
SIGNALS = tuple(each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, _HANGUP) if each is not None)


def left_to_the_sweep(number: int, frame: Any) -> None:
    """A job's answer to Ctrl-C, which reaches all processes of a terminal: to be told once, by SIGTERM, is enough."""


@contextmanager
def only_the_sweep_interrupts() -> Iterator[None]:
    """In a job's own process: SIGTERM is an interrupt, Ctrl-C is nothing."""
    handlers = {signal.SIGINT: left_to_the_sweep, signal.SIGTERM: _interrupt}
    previous = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        yield
    finally:
        for each, old in previous.items():
            signal.signal(each, old)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


@contextmanager
def signals_stop(sweep: Sweep) -> Iterator[None]:
    """While jobs run elsewhere on this machine, a signal stops them; else it raises KeyboardInterrupt.

    A SIGHUP that is ignored stays so, as nohup has it. Other signals are heard even where they were ignored: a shell
    starts what it runs in the background without SIGINT.
    """
    previous: dict[int, Any] = {}

    def restore() -> None:
        for each, handler in previous.items():
            signal.signal(each, handler)

    def stop(number: int, frame: Any) -> None:
        restore()
        pids = _stop_jobs(sweep)
        if not pids:
            raise KeyboardInterrupt
        print("\nstopping: the running jobs save and end (Ctrl-C again: at once)", file=sys.stderr, flush=True)

    heard = [each for each in SIGNALS if each != _HANGUP or signal.getsignal(each) is not signal.SIG_IGN]
    previous |= {each: signal.signal(each, stop) for each in heard}
    try:
        yield
    finally:
        restore()


def _stop_jobs(sweep: Sweep) -> list[int]:
    """Tell this machine's jobs to stop; returns their processes."""
    if not sweep.exists:
        return []
    sweep.stop()
    pids = [
        job.pid
        for job in sweep.jobs_of_this_call()
        if job.status == RUNNING and job.host == socket.gethostname() and job.pid != os.getpid()
    ]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    return pids
