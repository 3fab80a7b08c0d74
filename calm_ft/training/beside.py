"""What runs beside the training steps of one run: its callbacks, in the order in which they are to act."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from calm_ft.errors import UserError
from calm_ft.training.experiment import Experiment
from calm_ft.training.loggers import StepsDone
from calm_ft.training.nonfinite import StopAtNonFinite
from calm_ft.training.preparation import Prepared
from calm_ft.training.progress import progress_for_stderr
from calm_ft.training.samples import SampleWhileTraining
from calm_ft.training.saving import checkpoint_callbacks
from calm_ft.training.stopping import StopAtSignal
from calm_ft.training.throughput import Throughput


@dataclass(frozen=True)
class Beside:
    """The callbacks; `stop` tells whether a signal ended training."""

    experiment: Experiment
    callbacks: list[Callback]
    stop: StopAtSignal

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

    def add_samples(self, trainer: Trainer, prepared: Prepared, voice_prompt: Path) -> None:
        """Speak some of the judged sentences every so many steps, if the run is to."""
        settings = self.experiment.samples
        texts = [each.text for each in prepared.judging.sets[0].recordings[: settings.num_sentences]]
        if settings.every_n_steps is None or not texts:
            return
        directory, seed = voice_prompt.parent, self.experiment.run.seed
        speaking = SampleWhileTraining(texts, voice_prompt, directory, settings.every_n_steps, seed)
        trainer.callbacks.append(speaking)  # type: ignore[attr-defined]


def callbacks_beside(experiment: Experiment, output_dir: Path) -> Beside:
    """All but the samples, which need a voice prompt in the run's folder."""
    stop, settings = StopAtSignal(), experiment.early_stopping
    stopping: list[Callback] = []
    if settings.patience is not None:
        monitor, mode = experiment.checkpoint.monitor, experiment.checkpoint.mode
        stopping = [EarlyStopping(monitor, settings.min_delta, settings.patience, mode=mode, check_finite=False)]
    saving = checkpoint_callbacks(output_dir / "checkpoints", experiment.checkpoint)
    callbacks = [
        StopAtNonFinite(output_dir),
        *saving,
        *stopping,
        Throughput(),
        StepsDone(),
        progress_for_stderr(),
        stop,
    ]
    return Beside(experiment, callbacks, stop)
