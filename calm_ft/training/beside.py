"""What runs beside the training steps of one run: its callbacks, in the order in which they are to act."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from calm_ft.errors import UserError
from calm_ft.training.callbacks.by_evaluation import BestByEvaluation, StopByEvaluation
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.callbacks.nonfinite import StopAtNonFinite
from calm_ft.training.callbacks.periodic_evaluation import Rhythm, SpeakWhileTraining, Verdicts
from calm_ft.training.callbacks.progress import progress_for_stderr
from calm_ft.training.callbacks.stopping import StopAtSignal
from calm_ft.training.callbacks.throughput import Throughput
from calm_ft.training.callbacks.time_budget import TimeBudget
from calm_ft.training.course import Course
from calm_ft.training.experiment import Experiment
from calm_ft.training.loggers import StepsDone
from calm_ft.training.monitor import Monitor, monitor_of
from calm_ft.training.prepare import Prepared
from calm_ft.training.scoring import Evaluated, Scoring
from calm_ft.training.speaking import Speaking


@dataclass(frozen=True)
class Beside:
    """The callbacks; `stop` tells whether a signal ended training."""

    experiment: Experiment
    callbacks: list[Callback]
    stop: StopAtSignal
    monitor: Monitor

    def check_monitored(self, base_residuals: Mapping[str, float]) -> None:
        """Raises UserError where the model has no such validation figure, or the figures are no numbers."""
        if not math.isfinite(base_residuals["residual"]):
            raise UserError(
                "The base model's residual on the validation clips is no number: its weights or the feature cache are "
                "damaged; fetch the model again, or choose another data.cache_dir."
            )
        monitor = self.experiment.checkpoint.monitor
        known = [f"val/{name}" for name in base_residuals]
        if monitor.startswith("val/") and monitor not in known:
            raise UserError(f"checkpoint.monitor={monitor} is not logged: choose one of {', '.join(known)}.")

    def check_measured(self, missing: Mapping[str, str], base: Evaluated | None = None) -> None:
        """Raises UserError where the monitored figure cannot be had here: by any metric, or of the base itself."""
        figure = self.monitor.figure
        found = {**missing, **({} if base is None else base.missing)}
        if figure is not None and figure in found:
            raise UserError(
                f"checkpoint.monitor={self.monitor.name} cannot be measured here: {found[figure].rstrip('.')}; choose "
                "another figure, or mend that."
            )

    def begin_course(
        self,
        trainer: Trainer,
        prepared: Prepared,
        scoring: Scoring | None,
        voice_prompt: Path,
        resumed_step: int | None,
    ) -> Course:
        """Let the base be heard and scored, and what is to come as training goes on.

        Raises UserError where the monitored figure cannot be measured of the base.
        """
        samples, seed = self.experiment.samples, self.experiment.run.seed
        texts = [each.text for each in prepared.judging.sets[0].recordings]
        num_samples = 0 if samples.every_n_steps is None else min(samples.num_sentences, len(texts))
        course = Course(Speaking(texts, voice_prompt, seed), voice_prompt.parent, num_samples, scoring)
        started_sec = time.perf_counter()
        base = course.begin(prepared.module, trainer.loggers, resumed_step)
        self.check_measured({}, base)
        self._add(trainer, prepared, course, time.perf_counter() - started_sec)
        return course

    def follow_course(self, trainer: Trainer, prepared: Prepared) -> None:
        """What the other processes do of it: learn the monitored figure from the first."""
        self._add(trainer, prepared, None, 0.0)

    def _add(self, trainer: Trainer, prepared: Prepared, course: Course | None, expected_sec: float) -> None:
        experiment = self.experiment
        rhythm = Rhythm(experiment.samples.every_n_steps, experiment.judgement.scoring.every_n_steps)
        if not prepared.judging.sets[0].recordings:
            rhythm = Rhythm(None, None)
        verdicts = None if self.monitor.figure is None else Verdicts(self.monitor.figure, self.judges)
        budget = TimeBudget(experiment.judgement.scoring.max_time_share, expected_sec)
        trainer.callbacks.append(SpeakWhileTraining(course, rhythm, budget, verdicts))  # type: ignore[attr-defined]

    @property
    def judges(self) -> list[BestByEvaluation | StopByEvaluation]:
        """What is decided by the monitored figure of the evaluation."""
        return [each for each in self.callbacks if isinstance(each, BestByEvaluation | StopByEvaluation)]


def callbacks_beside(experiment: Experiment, output_dir: Path) -> Beside:
    """All but the run's course, which needs a voice prompt in the run's folder.

    Raises UserError where the monitored value is none that this run could have.
    """
    stop, settings = StopAtSignal(), experiment.early_stopping
    monitor = monitor_of(experiment.checkpoint, experiment.judgement)
    stopping: list[Callback] = []
    if settings.patience is not None:
        kind = EarlyStopping if monitor.figure is None else StopByEvaluation
        stopping = [kind(monitor.name, settings.min_delta, settings.patience, mode=monitor.mode, check_finite=False)]
    saving = checkpoint_callbacks(
        output_dir / "checkpoints", experiment.checkpoint.model_copy(update={"mode": monitor.mode})
    )
    callbacks = [
        StopAtNonFinite(output_dir),
        *saving,
        *stopping,
        Throughput(),
        StepsDone(),
        progress_for_stderr(),
        stop,
    ]
    return Beside(experiment, callbacks, stop, monitor)
