"""Puts a checkpoint's state back before the first step, so that training goes on exactly where it was saved.

Lightning's own restoring continues inside an epoch: it would train the epoch's first batches again (a map-style loader
starts from its beginning) and may validate twice. Here a resumed run is one epoch of the batches that are left.
"""

from copy import deepcopy
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from calm_ft.training.module import FineTuning
from calm_ft.training.resume import ResumePoint


class Restore(Callback):
    """Must be the first of the callbacks, since it restores the states of the others."""

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
        content.clear()  # it takes four times the memory of all that trains


def _moved(state: Any, old: str, new: str) -> Any:
    """The same state with paths below `old` moved below `new`: otherwise Lightning forgets a moved run's best value."""
    if isinstance(state, dict):
        return {_moved(key, old, new): _moved(value, old, new) for key, value in state.items()}
    return new + state.removeprefix(old) if isinstance(state, str) and state.startswith(old) else state


def _set_position(trainer: Trainer, step: int) -> None:
    """Set Lightning's counters to where they stand after `step` optimizer steps.

    Only the totals are set: they decide which steps are logged and validated.
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
