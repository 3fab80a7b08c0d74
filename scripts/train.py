"""Fine-tune a voice: python scripts/train.py experiment=head_only data.path=my_recordings"""

import os
import sys

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
    job_name,
    register_resolvers,
    tidy_arguments,
)
from calm_ft.errors import UserError, exit_with, run_script

register_resolvers()
jobs: list[tuple[str, UserError | None]] = []


@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
def train(config: DictConfig) -> float | None:
    from calm_ft.training.run import run_training  # after Hydra, so that --help answers at once

    give_each_job_its_folder(config)
    try:
        residual = run_training(experiment_from(config))
    except UserError as error:  # kept until all jobs of a sweep are done; Hydra itself would end the sweep
        jobs.append((job_name(), error))
        return None
    jobs.append((job_name(), None))
    return residual


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
    refused = [(name, error) for name, error in jobs if error is not None]
    if refused and len(jobs) == 1:
        raise refused[0][1]
    if refused:
        named = "; ".join(f"{name}: {error}" for name, error in refused)
        raise UserError(f"{len(refused)} of {len(jobs)} jobs could not run: {named}")


if __name__ == "__main__":
    run_script(main)
