"""What a tracker can be given besides figures, and the functions that give it to all trackers of a run.

A step is the number of optimizer steps done: 0 is the base model, before the first one. Lightning counts from 0 instead
and logs what it measured after the 200th step at 199; `StepsDone` makes that row 200, as samples, checkpoints and the
progress bar have it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from calm_ft.training.loggers.sentences import SentenceRow


class Tracker(Logger):
    """A Lightning logger that may also show audio, pictures and sentences; what it cannot show, it ignores."""

    key: str
    """Its name in run.json."""

    @property
    def run_id(self) -> str | None:
        """The id that a resumed run needs to continue the same record; None where the run's folder is enough."""
        return None

    def log_media(self, step: int, audio: Mapping[str, Path], pictures: Mapping[str, Path]) -> None:
        """Show WAV files and PNG pictures (name -> file) made after `step` steps; a name is one panel for all steps."""

    def log_sentences(self, step: int, rows: Sequence[SentenceRow]) -> None:
        """Add rows to the one table of sentences by step; the columns of the first ones are those of all."""

    def restore_sentences(self, rows: Sequence[SentenceRow]) -> None:
        """Give back the rows that the table held before the run was resumed."""

    def log_export(self, export_dir: Path, name: str) -> None:
        """Keep an exported model under a name."""

    def log_summary(self, figures: Mapping[str, Any]) -> None:
        """A run's final figures, which may be nested."""

    def close(self) -> None:
        """Write what is still buffered; nothing is logged afterwards."""


class StepsDone(Callback):
    """Logs `step`, which Lightning takes as the number of the row in place of its own count."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log("step", float(trainer.global_step))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("step", float(trainer.global_step))


def log_media(trackers: Sequence[Logger], step: int, audio: Mapping[str, Path], pictures: Mapping[str, Path]) -> None:
    """Show audio players and pictures where a tracker can (name -> file)."""
    for tracker in _own(trackers):
        tracker.log_media(step, audio, pictures)


def log_sentences(trackers: Sequence[Logger], step: int, rows: Sequence[SentenceRow]) -> None:
    """Show scored sentences in a table where a tracker can."""
    for tracker in _own(trackers):
        tracker.log_sentences(step, rows)


def restore_sentences(trackers: Sequence[Logger], rows: Sequence[SentenceRow]) -> None:
    """Give back the rows that the table held before the run was resumed."""
    for tracker in _own(trackers):
        tracker.restore_sentences(rows)


def log_export(trackers: Sequence[Logger], export_dir: Path, name: str) -> None:
    """Keep the exported model as an artifact where a tracker can."""
    for tracker in _own(trackers):
        tracker.log_export(export_dir, name)


def log_summary(trackers: Sequence[Logger], figures: Mapping[str, Any]) -> None:
    """Give the final figures to each tracker's summary."""
    for tracker in _own(trackers):
        tracker.log_summary(figures)


def tracker_ids(trackers: Sequence[Logger]) -> dict[str, str]:
    """What run.json must keep so that a resumed run continues the same records, such as {"wandb": its run's id}."""
    return {tracker.key: tracker.run_id for tracker in _own(trackers) if tracker.run_id is not None}


def finish(trackers: Sequence[Logger]) -> None:
    """Close the trackers, so that the next run of a sweep starts its own."""
    for tracker in _own(trackers):
        tracker.close()


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures with keys joined by "/"."""
    joined: dict[str, Any] = {}
    for name, value in figures.items():
        key = f"{prefix}{name}"
        joined |= flat(value, f"{key}/") if isinstance(value, Mapping) else {key: value}
    return joined


def _own(trackers: Sequence[Logger]) -> list[Tracker]:
    return [tracker for tracker in trackers if isinstance(tracker, Tracker)]
