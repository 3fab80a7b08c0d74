"""Lightning's Trainer from `trainer.*`: all of Lightning's own arguments except those that a run of this project fixes.

A run is one epoch of `max_steps * accumulate_grad_batches` batches (datamodule.py), so its length is counted in
optimizer steps, and `val_check_interval` in batches or as a fraction of the run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from pydantic import Field

from calm_ft.errors import UserError
from calm_ft.flow.precision import has_fast_bfloat16
from calm_ft.settings import PositiveInteger, checked
from calm_ft.training.callbacks.checkpoints import AtomicCheckpointIO
from calm_ft.training.settings import AUTO

DECIDED_ELSEWHERE = {
    "compile": "torch.compile is no argument of Lightning's Trainer; choose it by compile=true or compile=auto",
    "logger": "choose trackers by logger=csv or logger=wandb",
    "default_root_dir": "choose the run's folder by output_dir",
    "enable_checkpointing": "checkpoints are always written, every checkpoint.every_n_steps steps",
    "max_epochs": "the length of a run is counted in optimizer steps, trainer.max_steps",
    "min_epochs": "the length of a run is counted in optimizer steps, trainer.max_steps",
    "max_time": "a run ends by steps; SIGUSR1 or SIGTERM ends it early, saved, and resume=true continues it",
}
# Others split the weights over processes, where a checkpoint of this project holds them whole, or fork.
STRATEGIES = ("auto", "single_device", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


def build_trainer(settings: dict[str, Any], output_dir: Path, callbacks: Sequence[Callback]) -> Trainer:
    """A Trainer without loggers, which are set once the run's folder exists.

    Raises UserError for an argument that Lightning does not know or refuses, and for those of `DECIDED_ELSEWHERE`.
    """
    for name, where in DECIDED_ELSEWHERE.items():
        if settings.get(name) is not None:
            raise UserError(f"trainer.{name} is not set here: {where}.")
    checked("trainer.max_steps", settings.get("max_steps"), PositiveInteger)
    checked("trainer.accumulate_grad_batches", settings.get("accumulate_grad_batches", 1), PositiveInteger)
    settings = {**settings, "precision": precision_of(settings)}
    _check_precision(settings["precision"])
    strategy = settings.get("strategy", "auto")
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={strategy} is not supported: choose one of {', '.join(STRATEGIES)}.")
    ours: dict[str, Any] = {
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    theirs = {
        name: value for name, value in settings.items() if name not in (*DECIDED_ELSEWHERE, "callbacks", "plugins")
    }
    chosen = [*_without_bar(callbacks, theirs), *(settings.get("callbacks") or [])]
    try:
        return Trainer(
            **{**ours, **theirs, "val_check_interval": validation_interval(settings)},
            logger=False,
            callbacks=chosen,
            plugins=[AtomicCheckpointIO(), *(settings.get("plugins") or [])],
            default_root_dir=str(output_dir),
        )
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        reason = " ".join(str(error).split()).removeprefix("Trainer.__init__() ")
        raise UserError(f"Lightning's Trainer refuses trainer.*: {reason[:300]}") from error


def precision_of(settings: dict[str, Any]) -> Any:
    """`trainer.precision`; auto is bf16-mixed where the device multiplies bfloat16 faster, else 32-true."""
    given = settings.get("precision")
    if given != AUTO:
        return given
    kind = settings.get("accelerator", AUTO)
    on_gpu = kind in (AUTO, "gpu", "cuda") and torch.cuda.is_available()
    on_cpu = kind == "cpu" or (kind == AUTO and not torch.backends.mps.is_available())
    device = torch.device("cuda" if on_gpu else "cpu")
    return "bf16-mixed" if (on_gpu or on_cpu) and has_fast_bfloat16(device) else "32-true"


def validation_interval(settings: dict[str, Any]) -> Any:
    """Batches between validations: at most the run's length, and a fraction of it where one is given.

    Anything else that Lightning takes, such as a time "00:10:00", is passed on. Raises UserError for a number that is
    not positive.
    """
    num_batches = settings["max_steps"] * settings.get("accumulate_grad_batches", 1)
    interval = settings.get("val_check_interval")
    if interval is None:
        return num_batches
    if isinstance(interval, float):
        checked("trainer.val_check_interval", interval, Annotated[float, Field(gt=0, le=1)])
        return max(1, int(interval * num_batches))
    if isinstance(interval, int):
        checked("trainer.val_check_interval", interval, PositiveInteger)
        return min(interval, num_batches)
    return interval


def _check_precision(precision: Any) -> None:
    if str(precision) == "64" or (str(precision).endswith("-true") and precision != "32-true"):
        raise UserError(
            f"trainer.precision={precision} would change the frozen weights' own type: choose 32-true or bf16-mixed."
        )


def _without_bar(callbacks: Sequence[Callback], settings: dict[str, Any]) -> list[Callback]:
    wanted = settings.get("enable_progress_bar", True)
    return [each for each in callbacks if wanted or not isinstance(each, ProgressBar)]
