"""Fine-tune a voice: python scripts/train.py experiment=head_only data.path=my_recordings"""

import os

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach the wrapper below, which says them in one sentence

import hydra
from omegaconf import DictConfig

from calm_ft.config import CONFIG_ERRORS, config_error_sentence, register_resolvers, run_arguments
from calm_ft.errors import UserError, exit_with, run_script

register_resolvers()
refused: list[UserError] = []


@hydra.main(config_path="../conf", config_name="train", version_base="1.3")
def train(config: DictConfig) -> float | None:
    from calm_ft.training.run import run_training  # after Hydra, so that --help answers at once

    try:
        return run_training(**run_arguments(config))
    except UserError as error:
        refused.append(error)  # kept until all jobs of a sweep are done; Hydra itself would end the sweep
        return None


def main() -> None:
    try:
        train()
    except CONFIG_ERRORS as error:
        exit_with(config_error_sentence(error))
    if refused:
        raise refused[0]


if __name__ == "__main__":
    run_script(main)
