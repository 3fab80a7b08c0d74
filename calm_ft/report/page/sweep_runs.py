"""The jobs of a sweep: the folders of those that can be compared, and what became of the others."""

import json
from dataclasses import dataclass
from pathlib import Path

from calm_ft.errors import UserError
from calm_ft.sweeps.folder import FAILED, FINISHED, Job, Sweep


@dataclass(frozen=True)
class LeftOut:
    """A job that has no figures: its name, what was set for it, what became of it, and why."""

    name: str
    label: str
    status: str
    reason: str


def runs_of_sweep(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """The finished jobs' folders, and all other jobs.

    Raises UserError where the folder is no sweep's, or no job of it is finished.
    """
    sweep = Sweep(folder)
    if not sweep.exists:
        raise UserError(f"{folder} is not a sweep's folder (it has no sweep.json): pass the output_dir of a sweep.")
    jobs = sweep.jobs()
    finished = [job for job in jobs if _status(sweep, job) == FINISHED]
    left_out = [_left_out(sweep, job) for job in jobs if job not in finished]
    if not finished:
        told = "; ".join(f"{each.name}: {each.status}, {each.reason}" for each in left_out) or "it has no jobs"
        raise UserError(f"No job of the sweep {folder} is finished ({told}): run the sweep again.")
    return [sweep.run_dir(job) for job in finished], left_out


def _status(sweep: Sweep, job: Job) -> str:
    """What the run itself says; a job whose value alone is missing is finished."""
    try:
        return str(json.loads((sweep.run_dir(job) / "run.json").read_text(encoding="utf-8")).get("status"))
    except (OSError, ValueError, AttributeError):
        return FAILED if job.status in (FAILED, FINISHED) else job.status


def _left_out(sweep: Sweep, job: Job) -> LeftOut:
    status = _status(sweep, job)
    reason = job.reason or "its folder is gone" if status == FAILED else "it can be continued by the sweep's command"
    return LeftOut(sweep.run_dir(job).name, job.label, status, reason)
