"""What `checkpoint.monitor` names: a logged value, or a figure of the evaluation while training (`eval/cer`).

Which way is better is known of the figures. So it is derived, and a mode that would keep the worst is refused.
"""

from dataclasses import dataclass

from calm_ft.errors import UserError
from calm_ft.evaluation.summary import FLAG_FIGURES
from calm_ft.metrics.registry import ALL_FIGURES, OPINION_FIGURES
from calm_ft.training.judgement import Judgement
from calm_ft.training.settings import CheckpointSettings

PREFIX = "eval/"
_FIGURES = {figure.name: figure for figure in (*ALL_FIGURES, *FLAG_FIGURES)}
_MODES = {"lower": "min", "higher": "max"}


@dataclass(frozen=True)
class Monitor:
    """A value's name as it is logged, and "min" or "max"."""

    name: str
    mode: str

    @property
    def figure(self) -> str | None:
        """The evaluation's own name of it; None where it is no figure of the evaluation."""
        return figure_of(self.name)


def figure_of(monitor: str) -> str | None:
    """`cer` of `eval/cer`, None of any other value."""
    return monitor.removeprefix(PREFIX) if monitor.startswith(PREFIX) else None


def monitor_of(checkpoint: CheckpointSettings, judgement: Judgement) -> Monitor:
    """The monitored value with its mode.

    Raises UserError for a figure that no evaluation of this run will give, and for a mode that keeps the worst.
    """
    name, figure = checkpoint.monitor, figure_of(checkpoint.monitor)
    if figure is None:
        return Monitor(name, checkpoint.mode or "min")
    if figure not in _FIGURES:
        known = ", ".join(PREFIX + each for each in _FIGURES)
        raise UserError(f"checkpoint.monitor={name} is no figure of the evaluation: choose one of {known}.")
    _check_evaluated(name, figure, judgement)
    return Monitor(name, _mode(checkpoint, figure))


def _check_evaluated(name: str, figure: str, judgement: Judgement) -> None:
    if judgement.scoring.every_n_steps is None:
        raise UserError(
            f"checkpoint.monitor={name} needs an evaluation while training: set evaluation.every_n_steps=200."
        )
    if judgement.num_sentences == 0:
        raise UserError(f"checkpoint.monitor={name} needs sentences that are spoken, and evaluation.num_sentences=0.")
    if figure in {each.name for each in OPINION_FIGURES} and not judgement.scoring.opinion_scores:
        raise UserError(f"checkpoint.monitor={name} needs evaluation.opinion_scores=true.")


def _mode(checkpoint: CheckpointSettings, figure: str) -> str:
    direction = _FIGURES[figure].direction
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
