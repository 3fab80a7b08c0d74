"""What `checkpoint.monitor` names, and what hangs on it: the best checkpoint and the end of training.

A monitored value is logged by a validation (`val/residual`) or by a periodic evaluation (`eval/cer`). Lightning's own
callbacks handle the first. They look at the last logged values after each validation, so that a value of an
evaluation, which comes at other steps, would be judged again and again: for those, `BestByEvaluation` and
`StopByEvaluation` are handed each value once. Their states are Lightning's, so that a resumed run goes on with the same
best value and the same patience.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from calm_ft.errors import UserError
from calm_ft.evaluation.evaluator import StepScores
from calm_ft.evaluation.settings import EvaluationSettings
from calm_ft.metrics.registry import FIGURES, OPINIONS, TIMINGS
from calm_ft.training.settings import CheckpointSettings

PREFIX = "eval/"
_LOGGED = ("val/", "val_base/", "train/")
_MODES = {"lower": "min", "higher": "max"}
_NOT_WHILE_TRAINING = {figure.name for figure in TIMINGS}


@dataclass(frozen=True)
class Monitor:
    """A value's name as it is logged, and "min" or "max"."""

    name: str
    mode: str

    @property
    def figure(self) -> str | None:
        """The evaluation's own name of it; None where it is no figure of the evaluation."""
        return figure_of(self.name)

    def check_logged(self, base_residuals: Mapping[str, float]) -> None:
        """Raises UserError where the model has no such validation figure, or the base's residual is no number."""
        if not math.isfinite(base_residuals["residual"]):
            raise UserError(
                "The base model's residual on the validation clips is no number: its weights or the feature cache are "
                "damaged; fetch the model again, or choose another data.cache_dir."
            )
        known = [f"val/{name}" for name in base_residuals]
        if self.name.startswith("val/") and self.name not in known:
            raise UserError(f"checkpoint.monitor={self.name} is not logged: choose one of {', '.join(known)}.")

    def check_measured(self, missing: Mapping[str, str]) -> None:
        """Raises UserError where the monitored figure is among those that cannot be had, with the reasons given."""
        if self.figure is not None and self.figure in missing:
            raise UserError(
                f"checkpoint.monitor={self.name} cannot be measured here: {missing[self.figure].rstrip('.')}; choose "
                "another figure, or mend that."
            )


def figure_of(monitor: str) -> str | None:
    """`cer` of `eval/cer`, None of any other value."""
    return monitor.removeprefix(PREFIX) if monitor.startswith(PREFIX) else None


def monitor_of(checkpoint: CheckpointSettings, evaluation: EvaluationSettings) -> Monitor:
    """The monitored value with its mode.

    Raises UserError for a figure that no evaluation of this run will give, and for a mode that keeps the worst.
    """
    name, figure = checkpoint.monitor, figure_of(checkpoint.monitor)
    if figure is None and not name.startswith(_LOGGED):
        hint = f"{PREFIX}{name}" if name in FIGURES else "val/residual or eval/cer"
        raise UserError(f"checkpoint.monitor={name} is not the name of a logged value: write it as {hint}.")
    if figure is None:
        return Monitor(name, checkpoint.mode or "min")
    known = [each.name for each in FIGURES.values() if not each.needs_model and each.name not in _NOT_WHILE_TRAINING]
    if figure not in known:
        listed = ", ".join(PREFIX + each for each in known)
        raise UserError(f"checkpoint.monitor={name} is no figure of the evaluation: choose one of {listed}.")
    _check_evaluated(name, figure, evaluation)
    return Monitor(name, _mode(checkpoint, figure))


def _check_evaluated(name: str, figure: str, evaluation: EvaluationSettings) -> None:
    if evaluation.every_n_steps is None:
        raise UserError(
            f"checkpoint.monitor={name} needs an evaluation while training: set evaluation.every_n_steps=200."
        )
    if evaluation.num_sentences == 0:
        raise UserError(f"checkpoint.monitor={name} needs sentences that are spoken, and evaluation.num_sentences=0.")
    if figure in OPINIONS and not evaluation.opinion_scores:
        raise UserError(f"checkpoint.monitor={name} needs evaluation.opinion_scores=true.")


def _mode(checkpoint: CheckpointSettings, figure: str) -> str:
    direction = FIGURES[figure].direction
    right = _MODES.get(direction)
    if right is None and checkpoint.mode is None:
        raise UserError(
            f"checkpoint.monitor={checkpoint.monitor} is neither better when higher nor when lower: "
            "say which by checkpoint.mode=min or max."
        )
    if right is not None and checkpoint.mode not in (None, right):
        raise UserError(
            f"checkpoint.mode={checkpoint.mode} would keep the worst by {checkpoint.monitor}, of which {direction} is "
            f"better: leave the mode out, or set checkpoint.mode={right}."
        )
    return right or str(checkpoint.mode)


class BestByEvaluation(ModelCheckpoint):
    """Saves `best.ckpt` when `judge` is given a better value."""

    def judge(self, trainer: Trainer, value: float | None) -> None:
        """Save the present state if its value is the best so far; all processes are to call it with the same one."""
        if value is not None and not self._should_skip_saving_checkpoint(trainer):
            assert self.monitor is not None
            self._save_topk_checkpoint(trainer, {self.monitor: torch.tensor(value)})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation does not log the monitored value."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of an epoch does not log it either."""


class StopByEvaluation(EarlyStopping):
    """Ends training after `patience` values that were no better; one that could not be measured is no better."""

    def judge(self, trainer: Trainer, value: float | None) -> None:
        """Count a value; all processes are to call it with the same one."""
        worst = math.inf if self.mode == "min" else -math.inf
        should_stop, _ = self._evaluate_stopping_criteria(torch.tensor(worst if value is None else value))
        trainer.should_stop = trainer.should_stop or should_stop

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation does not log the monitored value."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of an epoch does not log it either."""


class MetricMonitor:
    """Hands the monitored figure of each evaluation to what keeps the best and ends training, in all processes."""

    def __init__(self, figure: str, judges: Sequence[BestByEvaluation | StopByEvaluation]) -> None:
        self.figure = figure
        self.judges = judges

    def give(self, trainer: Trainer, scores: StepScores | None, base_counts: Mapping[str, int]) -> float | None:
        """Judge an evaluation; returns the value that was judged by.

        In other processes than the first `scores` is None: they learn the value from it. An evaluation that failed
        counts for nothing. A figure that fewer sentences have than of the base (silence has no distortion) is no better
        than any: it is judged as None.
        """
        mine = (scores is not None, None if scores is None else self._value(scores, base_counts))
        took_place, value = trainer.strategy.broadcast(mine) if trainer.world_size > 1 else mine
        if took_place:
            for each in self.judges:
                each.judge(trainer, value)
        return value

    def _value(self, scores: StepScores, base_counts: Mapping[str, int]) -> float | None:
        if scores.counts.get(self.figure, 0) < base_counts.get(self.figure, 0):
            return None
        return scores.means.get(self.figure)
