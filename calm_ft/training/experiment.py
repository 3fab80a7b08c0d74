"""One run's parts as plain objects; the config module builds it from a composed configuration."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from calm_ft.adapters.base import TTSAdapter
from calm_ft.evaluation.settings import EvaluationSettings
from calm_ft.finetuning.strategy import Strategy
from calm_ft.training.loggers import LoggerSettings
from calm_ft.training.optimizers import OptimizerFactory
from calm_ft.training.settings import (
    CheckpointSettings,
    DataSettings,
    EarlyStoppingSettings,
    ExportSettings,
    RunSettings,
)


@dataclass(frozen=True)
class Experiment:
    """`config` is what config.yaml keeps, `adapter_factory` may load hundreds of megabytes."""

    run: RunSettings
    data: DataSettings
    checkpoint: CheckpointSettings
    early_stopping: EarlyStoppingSettings
    export: ExportSettings
    adapter_factory: Callable[[], TTSAdapter]
    strategy: Strategy
    optimizer: OptimizerFactory
    trainer_settings: dict[str, Any]
    logger_settings: LoggerSettings
    evaluation: EvaluationSettings
    config: dict[str, Any]

    def model_language(self) -> str:
        """ISO 639-1 code of what the model speaks: as its settings say, else the model is loaded to find out.

        Raises UserError where it cannot be loaded.
        """
        return self.config["adapter"].get("language") or self.adapter_factory().language

    def with_precision(self, precision: Any) -> Self:
        """The same with `trainer.precision` as if it had been given."""
        found = {"precision": precision}
        config = {**self.config, "trainer": {**self.config["trainer"], **found}}
        return replace(self, trainer_settings={**self.trainer_settings, **found}, config=config)

    def with_max_frames(self, max_frames: int) -> Self:
        """The same with `data.max_frames_per_batch` as if it had been given."""
        found = {"max_frames_per_batch": max_frames}
        config = {**self.config, "data": {**self.config["data"], **found}}
        return replace(self, data=self.data.model_copy(update=found), config=config)
