"""Exact resume: which checkpoint a run continues from, whether it is this run's, and how its state is put back.

Everything random is a function of (seed, stream, step), and batch k of (seed, k): so the weights, their average, the
optimizer, the schedule, the callbacks' states and the number of steps are all that a run is made of. They are put back
before the first step, and the resumed run is one epoch of the batches that are left.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from calm_ft.errors import UserError
from calm_ft.tensor_hash import add_tensors
from calm_ft.training.callbacks.checkpoints import LAST, step_checkpoints
from calm_ft.training.checkpoints import read_checkpoint
from calm_ft.training.module import FineTuning

HOW_TO_MEND = "resume with what the run began with, or choose a new output_dir"


@dataclass(frozen=True)
class ResumePoint:
    """A readable checkpoint of a run, and the optimizer steps that it has behind it."""

    path: Path
    step: int
    content: dict[str, Any]


def find_resume_point(run_dir: Path, say: Callable[[str], None]) -> ResumePoint | None:
    """The newest checkpoint that can be read, or None where the run has none yet; damaged ones are said aloud.

    Raises UserError where there are checkpoints and all of them are damaged.
    """
    directory = run_dir / "checkpoints"
    last = directory / f"{LAST}.ckpt"
    candidates = [*([last] if last.is_file() else []), *(path for _, path in step_checkpoints(directory))]
    for path in candidates:
        try:
            content = read_checkpoint(path)
        except UserError:
            say(f"{path.name} is damaged; trying the checkpoint before it")
            continue
        return ResumePoint(path, int(content["global_step"]), content)
    if candidates:
        raise UserError(
            f"Every checkpoint in {directory} is damaged ({', '.join(path.name for path in candidates)}): "
            "begin anew in another output_dir."
        )
    return None


def check_identity(point: ResumePoint, identity: Mapping[str, str]) -> None:
    """Raises UserError where the checkpoint was made with another model, data, strategy or any other part."""
    theirs = point.content.get("identity", {})
    different = [name for name, value in identity.items() if theirs.get(name) != value]
    if different:
        raise UserError(
            f"The checkpoint {point.path} belongs to another run: its {' and '.join(different)} "
            f"{'differs' if len(different) == 1 else 'differ'}; {HOW_TO_MEND}."
        )


def settings_fingerprint(settings: Any) -> str:
    """A hash of plain settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def weights_fingerprint(module: nn.Module) -> str:
    """A hash of a module's parameters and buffers with their names."""
    digest = hashlib.blake2b(digest_size=8)
    add_tensors(digest, module.state_dict().items())
    return digest.hexdigest()


def remove_abandoned(run_dir: Path) -> None:
    """Delete the temporary files that a killed run left behind; their names begin with a dot."""
    for folder in (run_dir, run_dir / "checkpoints", run_dir / "samples"):
        for path in folder.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


class Restore(Callback):
    """Puts a checkpoint's state back before the first step; to be the first of the callbacks."""

    def __init__(self, point: ResumePoint) -> None:
        self.point = point

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        content, step = self.point.content, self.point.step
        assert isinstance(pl_module, FineTuning)
        pl_module.strategy.load_state(pl_module.adapter, content["state_dict"])
        pl_module.ema.load_state_dict(content["ema"])
        _set_position(trainer, step)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if callback.state_key in content["callbacks"]:
                state = deepcopy(content["callbacks"][callback.state_key])
                if isinstance(callback, ModelCheckpoint):
                    state = _moved(state, str(state["dirpath"]), str(callback.dirpath))
                callback.load_state_dict(state)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        content = self.point.content
        for optimizer, state in zip(trainer.optimizers, content["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)
        for config, state in zip(trainer.lr_scheduler_configs, content["lr_schedulers"], strict=True):
            config.scheduler.load_state_dict(state)
        plugin = trainer.precision_plugin
        if type(plugin).__qualname__ in content:
            plugin.load_state_dict(content[type(plugin).__qualname__])
        content.clear()  # as large as all that trains, four times


def _moved(state: Any, old: str, new: str) -> Any:
    """The same with paths below `old` below `new`: Lightning forgets its best value where a folder was moved."""
    if isinstance(state, dict):
        return {_moved(key, old, new): _moved(value, old, new) for key, value in state.items()}
    return new + state.removeprefix(old) if isinstance(state, str) and state.startswith(old) else state


def _set_position(trainer: Trainer, step: int) -> None:
    """Lightning's counters as they stand after `step` optimizer steps.

    Its own restoring continues inside an epoch, where it trains the epoch's first batches again (a map-style loader
    begins anew) and may validate twice. Here the totals alone are set, by which steps are logged and validations fall.
    """
    loop = trainer.fit_loop.epoch_loop
    num_batches = step * trainer.accumulate_grad_batches
    for total, count in (
        (loop.batch_progress.total, num_batches),
        (loop.automatic_optimization.optim_progress.optimizer.step.total, step),
    ):
        for name in ("ready", "started", "processed", "completed"):
            if hasattr(total, name):
                setattr(total, name, count)
    loop._batches_that_stepped = step
