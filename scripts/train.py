"""Fine-tune a voice: python scripts/train.py experiment=head_only data.path=my_recordings"""

import os
import sys
import traceback
from dataclasses import dataclass

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach the wrapper below, which says them in one sentence
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # beside another busy program, spinning threads stall each other

import hydra
from omegaconf import DictConfig

from calm_ft.config import (
    CONF,
    CONFIG_ERRORS,
    config_error_sentence,
    experiment_from,
    give_each_job_its_folder,
    is_sweep,
    job_name,
    job_overrides,
    register_resolvers,
    tidy_arguments,
)
from calm_ft.errors import UserError, exit_with, run_script

register_resolvers()


@dataclass
class Job:
    """One job of a sweep, or the only one: what became of it."""

    name: str
    fault: str = ""
    is_users: bool = False


jobs: list[Job] = []


@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
def train(config: DictConfig) -> float | None:
    from calm_ft.training.run import run_training  # after Hydra, so that --help answers at once

    give_each_job_its_folder(config)
    job = Job(job_name())
    jobs.append(job)
    try:
        return run_training(experiment_from(config), ["python", "scripts/train.py", *job_overrides()])
    except UserError as error:  # kept until all jobs of a sweep are done; Hydra itself would end the sweep
        job.fault, job.is_users = str(error), True
    except Exception as error:
        if not is_sweep():
            raise
        traceback.print_exc()
        job.fault = f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    jobs.clear()
    sys.argv[1:] = tidy_arguments(sys.argv[1:])
    try:
        train()
    except CONFIG_ERRORS as error:
        exit_with(config_error_sentence(error))
    except KeyboardInterrupt as interruption:
        if not interruption.args:
            print("interrupted before anything was trained", file=sys.stderr)
            raise SystemExit(130) from None
        print(interruption)
        return
    failed = [job for job in jobs if job.fault]
    if failed and len(jobs) == 1:
        raise UserError(failed[0].fault)
    if failed:
        named = "; ".join(f"{job.name}: {job.fault}" for job in failed)
        summary = f"{len(failed)} of {len(jobs)} jobs failed: {named}"
        if all(job.is_users for job in failed):
            raise UserError(summary)
        print(f"error: {summary}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    run_script(main)
