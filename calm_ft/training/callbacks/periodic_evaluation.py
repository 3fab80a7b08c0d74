"""Speaking and scoring while training: at which steps, within which share of the time, and what hangs on the figures.

Nothing of it shifts training: weights and modes are put back, gradients stay as they are, and global random states are
restored (`speaking`). The evaluation comes after an optimizer step and before the checkpoint of that step, so that a
run that resumes from it has nothing of the step left to do.

An evaluation that would take more than its share of the time is skipped, unless the best checkpoint or the end of
training hangs on it: then none is, for the clock must not decide what a run, or a resumed one, ends in.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.training.callbacks.by_evaluation import BestByEvaluation, StopByEvaluation
from calm_ft.training.callbacks.throughput import pause_throughput
from calm_ft.training.callbacks.time_budget import TimeBudget
from calm_ft.training.course import Course
from calm_ft.training.scoring import Evaluated
from calm_ft.training.speaking import say


@dataclass(frozen=True)
class Rhythm:
    """Optimizer steps between samples and between evaluations, None: never; the last step is always evaluated."""

    sample_every: int | None
    score_every: int | None

    def samples(self, step: int) -> bool:
        """Whether samples fall on a step."""
        return self.sample_every is not None and step % self.sample_every == 0

    def scores(self, step: int, max_steps: int) -> bool:
        """Whether an evaluation falls on a step."""
        return self.score_every is not None and (step % self.score_every == 0 or step >= max_steps)


class Verdicts:
    """Hands a monitored figure of each evaluation to what keeps the best and ends training, in all processes alike."""

    def __init__(self, figure: str, judges: Sequence[BestByEvaluation | StopByEvaluation]) -> None:
        self.figure = figure
        self.judges = judges

    def give(self, trainer: Trainer, evaluated: Evaluated | None, base_counts: dict[str, int]) -> None:
        """In other processes than the first `evaluated` is None: they learn the value from it.

        An evaluation that failed counts for nothing. A figure that fewer sentences have than of the base (silence has
        no distortion) is no better than any.
        """
        mine = (evaluated is not None, None if evaluated is None else self._value(evaluated, base_counts))
        took_place, value = trainer.strategy.broadcast(mine) if trainer.world_size > 1 else mine
        if not took_place:
            return
        if value is None and trainer.is_global_zero:
            say(f"{self.figure} could not be measured as for the base at step {trainer.global_step}: no better")
        for each in self.judges:
            each.judge(trainer, value)

    def _value(self, evaluated: Evaluated, base_counts: dict[str, int]) -> float | None:
        if evaluated.counts.get(self.figure, 0) < base_counts[self.figure]:
            return None
        return evaluated.means[self.figure]


class SpeakWhileTraining(Callback):
    """Lets a run's course be heard at its steps; the first process alone speaks."""

    def __init__(
        self, course: Course | None, rhythm: Rhythm, budget: TimeBudget, verdicts: Verdicts | None = None
    ) -> None:
        """`course` is None in other processes than the first; `verdicts` where nothing hangs on the figures."""
        self.course = course
        self.rhythm = rhythm
        self.budget = budget
        self.verdicts = verdicts
        self._last_step = 0
        self._said_share = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        self.budget.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._last_step:
            return
        self._last_step = step
        sampled, scored = self.rhythm.samples(step), self.rhythm.scores(step, int(trainer.max_steps))
        if not sampled and not scored:
            return
        pause_throughput(trainer)
        evaluated = None if self.course is None else self._speak(self.course, trainer, pl_module, sampled, scored)
        if scored and self.verdicts is not None:
            self.verdicts.give(trainer, evaluated, {} if self.course is None else self.course.base_counts)

    def _speak(
        self, course: Course, trainer: Trainer, pl_module: LightningModule, sampled: bool, scored: bool
    ) -> Evaluated | None:
        step = trainer.global_step
        scored = scored and self._may_score(step)
        if not sampled and not scored:
            return None
        started_sec = time.perf_counter()
        try:
            evaluated = course.at_step(pl_module, step, trainer.loggers, sampled, scored)
        except RuntimeError as error:  # such as a full GPU: no sample is worth a lost training
            say(f"no samples at step {step}: {' '.join(str(error).split())[:200]}")
            return None
        self.budget.spend(time.perf_counter() - started_sec, evaluated=scored)
        for tracker in trainer.loggers:
            tracker.log_metrics({"eval/time_share": self.budget.share}, step=step)
        return evaluated

    def _may_score(self, step: int) -> bool:
        if self.budget.allows_another:
            return True
        would_be = f"{100 * self.budget.next_share:.0f} % of the training's time"
        limit = f"evaluation.max_time_share={self.budget.max_share:g}"
        if self.verdicts is None:
            say(f"no evaluation at step {step}: it would bring its share to {would_be}, over {limit}")
            return False
        if not self._said_share:
            say(f"evaluations take {would_be}, over {limit}; none is skipped, for {self.verdicts.figure} is monitored")
            self._said_share = True
        return True
