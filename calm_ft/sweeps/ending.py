"""What is said when a sweep ends, and its exit code: 0, 2 where all faults are the user's, 1 otherwise."""

import shlex
import sys

from calm_ft.errors import UserError
from calm_ft.sweeps.folder import FAILED, FINISHED, Job, Sweep
from calm_ft.sweeps.work import name_of, outcome


def say_how_it_ended(sweep: Sweep) -> None:
    """One line a job, and last those that failed, whichever process they ran in.

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
    """The command that goes on with a sweep, which is the one that began it."""
    kept = [each for each in command if not each.startswith("hydra.sweep.dir=")]
    return f"interrupted; what was done is saved, and this continues: {shlex.join(kept)}"


def _fault(sweep: Sweep, job: Job) -> str:
    if job.status == FAILED:
        return job.reason
    return f"its process ended without a word; the same command continues it ({sweep.log_file(job)})"
