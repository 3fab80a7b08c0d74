"""Evaluation while training: at which steps, within which share of the time, and what hangs on its figures.

Nothing of it shifts training: weights and modes are put back, gradients stay as they are, and global random states are
restored (`training.evaluation.training_untouched`). The evaluation comes after an optimizer step and before the
checkpoint of that step, so that a run that resumes from it has nothing of the step left to do.

An evaluation that would take more than its share of the time is skipped, unless the best checkpoint or the end of
training hangs on it: then none is, for the clock must not decide what a run, or a resumed one, ends in.
"""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from calm_ft.evaluation.evaluator import StepScores
from calm_ft.training.callbacks.metric_monitor import MetricMonitor
from calm_ft.training.callbacks.throughput import pause_throughput
from calm_ft.training.evaluation import RunEvaluation


class PeriodicEvaluation(Callback):
    """Evaluates every n optimizer steps and after the last one; the first process alone speaks."""

    def __init__(
        self,
        evaluation: RunEvaluation | None,
        every_n_steps: int | None,
        max_time_share: float,
        monitor: MetricMonitor | None = None,
        expected_sec: float = 0.0,
    ) -> None:
        """Settings.

        Args:
            evaluation: None in other processes than the first.
            every_n_steps: None: never.
            max_time_share: of the training's time.
            monitor: None where nothing hangs on the figures.
            expected_sec: what the first evaluation will probably take.
        """
        self.evaluation = evaluation
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self._budget = TimeBudget(max_time_share, expected_sec)
        self._last_step = 0
        self._said_share = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        self._budget.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._last_step:
            return
        self._last_step = step
        if self.every_n_steps is None or (step % self.every_n_steps and step < int(trainer.max_steps)):
            return
        pause_throughput(trainer)
        scores = None if self.evaluation is None else self._evaluate(self.evaluation, trainer, pl_module)
        if self.monitor is not None:
            base_counts = {} if self.evaluation is None else self.evaluation.base_counts
            value = self.monitor.give(trainer, scores, base_counts)
            if value is None and scores is not None:
                _say(f"{self.monitor.figure} could not be measured as for the base at step {step}: no better")

    def _evaluate(self, evaluation: RunEvaluation, trainer: Trainer, pl_module: LightningModule) -> StepScores | None:
        step = trainer.global_step
        if not self._may_evaluate(step):
            return None
        started_sec = time.perf_counter()
        try:
            scores = evaluation.at_step(pl_module, step, trainer.loggers)
        except RuntimeError as error:  # such as a full GPU: no evaluation is worth a lost training
            _say(f"no evaluation at step {step}: {' '.join(str(error).split())[:200]}")
            return None
        self._budget.spend(time.perf_counter() - started_sec)
        for tracker in trainer.loggers:
            tracker.log_metrics({"eval/time_share": self._budget.share}, step=step)
        return scores

    def _may_evaluate(self, step: int) -> bool:
        if self._budget.allows_another:
            return True
        would_be = f"{100 * self._budget.next_share:.0f} % of the training's time"
        limit = f"evaluation.max_time_share={self._budget.max_share:g}"
        if self.monitor is None:
            _say(f"no evaluation at step {step}: it would bring its share to {would_be}, over {limit}")
            return False
        if not self._said_share:
            _say(f"evaluations take {would_be}, over {limit}; none is skipped, for {self.monitor.figure} is monitored")
            self._said_share = True
        return True


class TimeBudget:
    """A share of the time since `start`; what one more evaluation costs is what the last one did."""

    def __init__(self, max_share: float, expected_sec: float = 0.0) -> None:
        """`expected_sec`: what the first evaluation will probably take."""
        self.max_share = max_share
        self._expected_sec = expected_sec
        self.start()

    def start(self) -> None:
        """From here on time counts."""
        self._started_sec = time.perf_counter()
        self._spent_sec = 0.0

    def spend(self, spent_sec: float) -> None:
        """Note what an evaluation took."""
        self._spent_sec += spent_sec
        self._expected_sec = spent_sec

    @property
    def share(self) -> float:
        """The share that was spent."""
        return self._spent_sec / max(time.perf_counter() - self._started_sec, 1e-9)

    @property
    def next_share(self) -> float:
        """The share that will have been spent after one more evaluation, if it is made now."""
        elapsed_sec = time.perf_counter() - self._started_sec
        return (self._spent_sec + self._expected_sec) / max(elapsed_sec + self._expected_sec, 1e-9)

    @property
    def allows_another(self) -> bool:
        """Whether one more evaluation keeps within the share."""
        return self.next_share <= self.max_share


def _say(line: str) -> None:
    """A whole line, also above a progress bar."""
    tqdm.write(line, file=sys.stderr)
