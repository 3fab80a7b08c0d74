"""What a command imports before it has anything to do: each takes that time, and so does each process of a sweep."""

import subprocess
import sys

import pytest

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
