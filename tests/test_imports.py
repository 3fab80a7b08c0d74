"""What a command imports before it has anything to do: each takes that time, and so does each process of a sweep."""

import os
import subprocess
import sys

import pytest

from calm_ft.commands import COMMANDS

COMPOSED = """
import sys
import calm_ft.train
from calm_ft.config import compose_config, experiment_from
config = compose_config(["experiment=head_only"])
"""
READY_TO_TRAIN = f"""{COMPOSED}
from calm_ft.training.run import run_training
experiment = experiment_from(config)
"""
ABOUT_SETTINGS = "torch", "lightning", "numpy", "scipy", "pydantic", "rich", "calm_ft.training", "calm_ft.adapters"
NOT_FOR_EVERY_RUN = (
    *("wandb.sdk", "tensorboard", "torch.utils.tensorboard"),  # trackers: imported by the one that is chosen
    *("numba", "librosa.feature", "resemblyzer", "sklearn", "onnxruntime.quantization"),  # what hears and measures
    *("transformers.modeling_utils", "faster_whisper", "peft", "diffusers", "chatterbox", "optuna", "submitit"),
)


@pytest.mark.parametrize(
    ("program", "late"),
    [
        pytest.param(COMPOSED, ABOUT_SETTINGS, id="settings are composed"),
        pytest.param(
            READY_TO_TRAIN, NOT_FOR_EVERY_RUN, id="a run of the default settings begins", marks=pytest.mark.slow
        ),
    ],
)
def test_what_is_needed_later_or_never_is_not_imported_before(program: str, late: tuple[str, ...]) -> None:
    program += f"print([each for each in {late} if each in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_a_commands_threads_spin_shortly_before_they_sleep_unless_the_user_says_otherwise(
    given: dict[str, str],
) -> None:
    wanted = given if "OMP_WAIT_POLICY" in given else {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"} | given
    names = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    program = f"""
import os, sys, calm_ft.{", calm_ft.".join(COMMANDS)}
from calm_ft.errors import run_script
assert "torch" not in sys.modules, "loaded before it can be told"
run_script(lambda: print({{name: os.environ[name] for name in {names} if name in os.environ}}))
"""
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert printed == f"{wanted}\n"
