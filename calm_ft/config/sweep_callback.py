"""What Hydra asks when a sweep begins and ends: the sweep's folder, and Optuna's study of an earlier start.

Beside the config module the one place that knows Hydra.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from calm_ft.commands import words_of
from calm_ft.config.overrides import override_of
from calm_ft.sweeps.folder import Sweep
from calm_ft.sweeps.value import RESIDUAL, optuna_direction, reopen


class SweepCallback(Callback):
    """Begins the sweep's folder once its settings are known to compose; a study goes on where it was left."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Sweep(Path(config.hydra.sweep.dir).expanduser()).begin([*words_of("train"), *sys.argv[1:]])
        if _is_study(config):
            # The plugin calls Optuna by names that Optuna 4 still has.
            warnings.filterwarnings("ignore", message=".*has been deprecated in v", category=FutureWarning)
            with read_write(config), open_dict(config):
                _continue_study(config.hydra)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if _is_study(config):
            best = OmegaConf.load(Path(config.hydra.sweep.dir).expanduser() / "optimization_results.yaml")
            if "best_value" in best:
                settings = " ".join(f"{name}={value}" for name, value in best.best_params.items())
                print(f"best of the study: {settings}, value {best.best_value:.4g}")


def _is_study(config: DictConfig) -> bool:
    return str(config.hydra.sweeper.get("_target_", "")).endswith("OptunaSweeper")


def _continue_study(hydra: DictConfig) -> None:
    """Give the study a file, a name and a direction, have its unfinished trials done first, and count those left."""
    sweeper, overrides = hydra.sweeper, list(hydra.overrides.task)
    if not any(each.lstrip("+").startswith("hydra.sweeper.direction=") for each in hydra.overrides.hydra):
        sweeper.direction = optuna_direction(override_of(overrides, "sweep_value") or RESIDUAL)
    if sweeper.study_name is None:  # so that another search begins another study
        searched = sorted(each for each in overrides if not each.startswith(("output_dir=", "resume=")))
        params = [] if sweeper.params is None else [f"{key}={value}" for key, value in sweeper.params.items()]
        sweeper.study_name = " ".join([*params, *searched, f"direction={sweeper.direction}"])
    if sweeper.storage is None:
        sweeper.storage = f"sqlite:///{hydra.sweep.dir}/study.db"
    num_done = reopen(sweeper.study_name, sweeper.storage)
    if num_done:
        print(f"the study has {num_done} of {sweeper.n_trials} trials already")
    sweeper.n_trials = max(0, sweeper.n_trials - num_done)
