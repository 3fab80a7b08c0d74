"""The jobs of a sweep: each is skipped, continued or run, how it ended is written down, and at last said.

The exit code of a sweep is 0, 2 where all faults are the user's to mend, and 1 otherwise.
"""

import json
import os
import shlex
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from calm_ft.errors import UserError
from calm_ft.sweeps.folder import (
    CONTINUED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUN,
    RUNNING,
    SKIPPED,
    WAITING,
    Job,
    Sweep,
    fingerprint_of_run,
)
from calm_ft.sweeps.stopping import only_the_sweep_interrupts
from calm_ft.sweeps.value import check_value_name, value_of

Train = Callable[[Path, bool], object]
"""(the job's folder, whether it is to be resumed): trains."""


class SweepStopped(Exception):  # noqa: N818 - no fault, but the end of a sweep that was told to stop
    """Ends a sweep whose jobs were interrupted, once all that ran have saved."""


def work(sweep: Sweep, settings: str, overrides: list[str], number: int, value_name: str, train: Train) -> float | None:
    """Do the job of these settings, or take its value where it is finished; a job that fails gives None.

    Another process that works on the same job is waited for. Where this is not the process that began the sweep,
    signals other than SIGTERM are that one's to pass on, and all output goes to the job's own log.

    Raises SweepStopped where the sweep was told to stop, and in the sweep's own process what interrupts it.
    """
    is_apart = not sweep.is_mine
    if not is_apart:
        return _work(sweep, sweep.claim(settings, overrides, number), value_name, train, is_apart)
    try:
        with only_the_sweep_interrupts():
            return _work(sweep, sweep.claim(settings, overrides, number), value_name, train, is_apart)
    except KeyboardInterrupt as interruption:  # which a launcher would answer by killing the other jobs
        if isinstance(interruption.__context__, SystemExit):  # by which submitit ends a job that SLURM begins again
            raise interruption.__context__ from None
        raise SweepStopped("the sweep was stopped") from None


def _work(sweep: Sweep, job: Job, value_name: str, train: Train, is_apart: bool) -> float | None:
    with sweep.lock(job):
        job = replace(job, pid=os.getpid(), host=socket.gethostname(), plan=_plan(sweep, job))
        sweep.write(replace(job, status=RUNNING))
        if sweep.stopped:
            sweep.write(replace(job, status=WAITING, plan=""))
            raise SweepStopped(f"{name_of(sweep, job)} was not begun")
        writes_apart = is_apart and job.plan != SKIPPED
        hint = f", its output in {sweep.log_file(job)}" if writes_apart else ""
        _say(sweep, job, f"{job.plan}{hint}")
        started = time.perf_counter()
        try:
            with _output_to(sweep.log_file(job)) if writes_apart else nullcontext():
                job = _ended(sweep, job, value_name, train)
        except KeyboardInterrupt:
            sweep.write(replace(job, status=INTERRUPTED))
            raise
        sweep.write(job)
        if job.plan != SKIPPED:
            _say(sweep, job, f"{outcome(job)}, {time.perf_counter() - started:.0f} s")
        return job.value


def name_of(sweep: Sweep, job: Job) -> str:
    return f"{sweep.run_dir(job)} ({job.label})" if job.label else str(sweep.run_dir(job))


def outcome(job: Job) -> str:
    """How a job ended, in a few words."""
    if job.status == FAILED:
        return f"failed: {job.reason}"
    return f"{job.status}{'' if job.value is None else f', value {job.value:.4g}'}"


def say_how_it_ended(sweep: Sweep) -> None:
    """Print one line for each job, and last the failed ones, whichever process they ran in.

    Raises UserError where all faults are the user's, and SystemExit(1) for others.
    """
    jobs = sweep.jobs_of_this_call()
    for job in jobs:
        print(f"{name_of(sweep, job)}: {outcome(job)} ({job.plan or 'not begun'})")
    failed = [job for job in jobs if job.status != FINISHED]
    if not failed:
        return
    if len(jobs) == 1 and failed[0].is_users_fault:
        raise UserError(failed[0].reason)
    named = "; ".join(f"{name_of(sweep, job)}: {_fault(sweep, job)}" for job in failed)
    summary = f"{len(failed)} of {len(jobs)} jobs failed: {named}"
    if all(job.is_users_fault for job in failed):
        raise UserError(summary)
    print(f"error: {summary}", file=sys.stderr)
    raise SystemExit(1)


def line_that_continues(command: list[str]) -> str:
    """The command that continues a sweep: the one that began it."""
    kept = [each for each in command if not each.startswith("hydra.sweep.dir=")]
    return f"interrupted; what was done is saved, and this continues: {shlex.join(kept)}"


def _plan(sweep: Sweep, job: Job) -> str:
    """What is to be done with what there is. A folder of other settings is said by `_ended`."""
    run_dir = sweep.run_dir(job)
    if not (run_dir / "run.json").is_file():
        return RUN
    return SKIPPED if _status(run_dir) == FINISHED and fingerprint_of_run(run_dir) == job.settings else CONTINUED


def _ended(sweep: Sweep, job: Job, value_name: str, train: Train) -> Job:
    """Train where that is the plan; the job with its status, and its value or what is wrong."""
    run_dir = sweep.run_dir(job)
    try:
        check_value_name(value_name)
        if job.plan == CONTINUED and fingerprint_of_run(run_dir) not in (None, job.settings):
            raise UserError(
                f"{run_dir} holds a run of other settings than those of the sweep's job: remove it, or choose another "
                "output_dir."
            )
        if job.plan != SKIPPED:
            train(run_dir, job.plan == CONTINUED)
        return replace(job, status=FINISHED, reason="", value=value_of(run_dir, value_name))
    except UserError as error:  # kept until all jobs are done; an exception would end the others
        return replace(job, status=FAILED, reason=str(error), is_users_fault=True, value=None)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return replace(job, status=FAILED, reason=reason, is_users_fault=False, value=None)


def _status(run_dir: Path) -> Any:
    try:
        return json.loads((run_dir / "run.json").read_text(encoding="utf-8")).get("status")
    except (ValueError, AttributeError):
        return None


def _say(sweep: Sweep, job: Job, what: str) -> None:
    print(f"{name_of(sweep, job)}: {what}", flush=True)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Both streams of this process, and of those that it starts, to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with path.open("ab") as file:
            for number in kept:
                os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


def _fault(sweep: Sweep, job: Job) -> str:
    if job.status == FAILED:
        return job.reason
    return f"its process ended without a message; the same command continues it ({sweep.log_file(job)})"
