"""A run's settings, checked before anything is loaded; see conf/train.yaml."""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, field_validator

from calm_ft.data.sources import is_on_hub
from calm_ft.errors import UserError
from calm_ft.settings import (
    STRICT,
    FolderPath,
    FractionBelowOne,
    NonNegativeInteger,
    NonNegativeNumber,
    PositiveInteger,
    PositiveNumber,
    Settings,
)

AUTO = "auto"


class RunSettings(Settings):
    """What belongs to a run as a whole; see conf/train.yaml."""

    output_dir: Path
    seed: int
    ema_decay: FractionBelowOne
    resume: bool
    voice: str | None = None
    """A recording or a voice of the library: what prompts the evaluation and is exported; None: chosen of the clips."""
    compile: bool | Literal["auto"] = False
    """torch.compile of what a step computes most; auto: where layers of a backbone train on a GPU."""


class CheckpointSettings(Settings):
    """When checkpoints are saved, how many of the last ones are kept, and by which value the best one is chosen."""

    section = "checkpoint"

    every_n_steps: PositiveInteger
    keep: PositiveInteger = 2
    monitor: str
    mode: Literal["min", "max"] | None = None
    """None: as is better for the monitored value."""


class EarlyStoppingSettings(Settings):
    """Training ends after `patience` values of `checkpoint.monitor` without an improvement by `min_delta`."""

    section = "early_stopping"

    patience: PositiveInteger | None
    """None: training never ends early."""
    min_delta: NonNegativeNumber = 0.0


class ExportSettings(Settings):
    """Which checkpoint is exported and evaluated at the end, and whether with its averaged weights (ema).

    dtype: of the weights in the export's files. voice: a recording or a voice of the library that is exported instead
    of the one that prompts the evaluation.
    """

    section = "export"

    which: Literal["best", "last"]
    ema: bool
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    voice: str | None = None


class DataSource(BaseModel):
    """One folder of recordings; its clips are drawn `weight` times as often as those of the tuned voice."""

    model_config = STRICT

    path: FolderPath
    weight: PositiveNumber
    format: str | None = None
    speakers: str = "auto"


class DataSettings(Settings):
    """Where the recordings are and how they become batches; see conf/data/recordings.yaml."""

    section = "data"

    path: FolderPath
    cache_dir: FolderPath
    tail_sec: NonNegativeNumber = 0.08
    max_duration_sec: PositiveNumber
    validation_fraction: FractionBelowOne
    max_frames_per_batch: PositiveInteger | Literal["auto"]
    """auto: what the device has memory for (training/batch_budget.py)."""
    max_batch_size: PositiveInteger | None
    """None: `max_frames_per_batch` alone limits a batch."""
    num_workers: NonNegativeInteger | None = None
    """Processes that make batches; None: none on a CPU, whose cores compute, and `workers_beside_a_gpu` on a GPU."""
    num_prompt_draws: PositiveInteger | None = 4
    """Prompts that a clip may have where frozen layers run only once for each; None draws a prompt for every row."""
    format: str | None = None
    speakers: str = "auto"
    prepare: Literal["auto", "never"] = "auto"
    """auto: recordings without text, or too long to be clips, are first made into a dataset (`calm_ft.preparation`)."""
    sources: dict[str, DataSource] | None = None

    @field_validator("sources", mode="before")
    @classmethod
    def _have_paths(cls, sources: Any) -> Any:
        for name, source in sources.items() if isinstance(sources, dict) else ():
            if isinstance(source, dict) and source.get("path") is None:
                raise UserError(
                    f"data.sources.{name} has no recordings: other voices come with the embedded model alone. Give "
                    f"some that your model knows, data.sources.{name}.path=FOLDER."
                )
        return sources

    @property
    def cache_folder(self) -> Path:
        return Path(self.cache_dir).expanduser()

    def prepared_folder(self, recordings: Path) -> Path:
        """Where recordings that need it are prepared; beside the features, one folder for each path."""
        place = recordings if is_on_hub(recordings) else recordings.absolute()
        digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
        name = recordings.name.partition("[")[0] if is_on_hub(recordings) else recordings.name
        return self.cache_folder.parent / "prepared" / f"{name}-{digest}"

    def named_sources(self) -> dict[str, DataSource]:
        """The voice that is tuned first, under "voice", then the others by their names."""
        main = DataSource(path=self.path, weight=1.0, format=self.format, speakers=self.speakers)
        return {"voice": main, **(self.sources or {})}
