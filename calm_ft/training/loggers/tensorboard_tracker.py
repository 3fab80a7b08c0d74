"""TensorBoard: event files in the run's folder, with audio and pictures.

A resumed run writes a further file; TensorBoard itself hides the older file's events after the step that was resumed.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import soundfile
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from calm_ft.errors import UserError
from calm_ft.training.loggers.metrics_csv import LoggerSettings, ResumedLogs
from calm_ft.training.loggers.tracker import Tracker


class TensorBoardSettings(LoggerSettings):
    """TensorBoard beside the CSV file: `tensorboard --logdir RUN/tensorboard`."""

    def __init__(self) -> None:
        """Raises UserError where the package is not installed."""
        if find_spec("tensorboard") is None:
            raise UserError(
                "logger=tensorboard needs the package tensorboard: pip install 'calm_ft[tensorboard]', "
                "or choose logger=csv."
            )

    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        return [TensorBoardTracker(output_dir / "tensorboard", described, None if resumed is None else resumed.step)]


class TensorBoardTracker(Tracker, TensorBoardLogger):
    """Lightning's logger straight in `directory`; the configuration is shown as text."""

    key = "tensorboard"

    def __init__(self, directory: Path, config: dict[str, Any], resumed_step: int | None) -> None:
        purge_step = None if resumed_step is None else resumed_step + 1
        super().__init__(str(directory), name="", version="", purge_step=purge_step)
        self.experiment.add_text("config", _as_code(config), resumed_step or 0)

    @rank_zero_only
    def log_media(self, step: int, audio: Mapping[str, Path], pictures: Mapping[str, Path]) -> None:
        from matplotlib.image import imread

        for name, path in audio.items():
            samples, rate_hz = soundfile.read(path, dtype="float32")
            self.experiment.add_audio(name, samples[None], step, rate_hz)
        for name, path in pictures.items():
            self.experiment.add_image(name, imread(path)[..., :3], step, dataformats="HWC")

    @rank_zero_only
    def log_summary(self, figures: Mapping[str, Any]) -> None:
        self.experiment.add_text("summary", _as_code(figures))

    @rank_zero_only
    def save(self) -> None:
        """Write the events; Lightning's own logger would add a file of hyperparameters, which config.yaml holds."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Keep the file open: the evaluation after training still logs."""
        self.save()

    @rank_zero_only
    def close(self) -> None:
        self.experiment.close()


def _as_code(content: Mapping[str, Any]) -> str:
    """JSON, indented so that TensorBoard's Markdown shows it as it is."""
    return "\n".join("    " + line for line in json.dumps(content, indent=2, default=str).splitlines())
