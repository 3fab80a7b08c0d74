"""A run's plain settings, checked before anything is loaded: a wrong value is one sentence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calm_ft.errors import UserError


@dataclass(frozen=True)
class RunSettings:
    """What belongs to a run as a whole; see conf/train.yaml. Raises UserError for a value out of range."""

    output_dir: Path
    seed: int
    ema_decay: float
    resume: bool

    def __post_init__(self) -> None:
        require_integer("seed", self.seed)
        require_number("ema_decay", self.ema_decay, at_least=0, below=1)
        require_bool("resume", self.resume)


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are saved, how many are kept, and what `best` means; mode None: as the value's kind has it.

    Raises UserError for a value out of range.
    """

    every_n_steps: int
    keep: int = 2
    monitor: str = "val/residual"
    mode: str | None = None

    def __post_init__(self) -> None:
        require_integer("checkpoint.every_n_steps", self.every_n_steps, at_least=1)
        require_integer("checkpoint.keep", self.keep, at_least=1)
        if self.mode is not None:
            require_choice("checkpoint.mode", self.mode, ("min", "max"))


@dataclass(frozen=True)
class EarlyStoppingSettings:
    """After how many values of `checkpoint.monitor` without a better one training ends; None: never.

    Raises UserError for a value out of range.
    """

    patience: int | None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.patience is not None:
            require_integer("early_stopping.patience", self.patience, at_least=1)
        require_number("early_stopping.min_delta", self.min_delta, at_least=0)


@dataclass(frozen=True)
class ExportSettings:
    """Which weights the run exports and judges at its end: `best` or `last`, averaged (ema) or as they are.

    Raises UserError for any other value.
    """

    which: str
    ema: bool

    def __post_init__(self) -> None:
        require_choice("export.which", self.which, ("best", "last"))
        require_bool("export.ema", self.ema)


@dataclass(frozen=True)
class SampleSettings:
    """How often a few fixed sentences are spoken while training; None: never. Raises UserError for counts below one."""

    every_n_steps: int | None
    num_sentences: int

    def __post_init__(self) -> None:
        if self.every_n_steps is not None:
            require_integer("samples.every_n_steps", self.every_n_steps, at_least=1)
        require_integer("samples.num_sentences", self.num_sentences, at_least=1)


@dataclass(frozen=True)
class ScoringSettings:
    """How often the model is scored while training, on what, and by what; see conf/evaluation/validation_clips.yaml.

    Raises UserError for a value out of range.
    """

    every_n_steps: int | None
    num_scored_sentences: int
    max_time_share: float
    asr: str
    opinion_scores: bool

    def __post_init__(self) -> None:
        if self.every_n_steps is not None:
            require_integer("evaluation.every_n_steps", self.every_n_steps, at_least=1)
        require_integer("evaluation.num_scored_sentences", self.num_scored_sentences, at_least=1)
        require_number("evaluation.max_time_share", self.max_time_share, above=0, at_most=1)
        require_bool("evaluation.opinion_scores", self.opinion_scores)
        if not isinstance(self.asr, str) or not self.asr.strip():
            raise UserError(
                f"evaluation.asr={self.asr} is no recogniser: name auto, embedded, none, one of the hub, or a folder."
            )


@dataclass(frozen=True)
class DataSettings:
    """Where the recordings lie and how they become batches; see conf/data/recordings.yaml.

    Raises UserError for a value out of range.
    """

    path: str
    cache_dir: str
    tail_sec: float = 0.08
    max_duration_sec: float = 30.0
    validation_fraction: float = 0.1
    max_frames_per_batch: int = 1500
    max_batch_size: int = 16
    num_workers: int = 0
    format: str | None = None
    speakers: str = "auto"
    sources: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("path", "cache_dir"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise UserError(f"data.{name}={value} is not a folder's name: give the path of a folder.")
        require_number("data.tail_sec", self.tail_sec, at_least=0)
        require_number("data.max_duration_sec", self.max_duration_sec, above=0)
        require_number("data.validation_fraction", self.validation_fraction, at_least=0, below=1)
        require_integer("data.max_frames_per_batch", self.max_frames_per_batch, at_least=1)
        require_integer("data.max_batch_size", self.max_batch_size, at_least=1)
        require_integer("data.num_workers", self.num_workers, at_least=0)
        for name, settings in (self.sources or {}).items():
            known = {"path", "weight", "format", "speakers"}
            if not isinstance(settings, Mapping) or not {"path", "weight"} <= settings.keys() <= known:
                raise UserError(
                    f"data.sources.{name}={settings} must have a path and a weight (and may have format, speakers)."
                )
            if not isinstance(settings["path"], str) or not settings["path"]:
                raise UserError(f"data.sources.{name}.path is not set: give a folder of recordings of other voices.")
            require_number(f"data.sources.{name}.weight", settings["weight"], above=0)

    def named_sources(self) -> dict[str, "DataSource"]:
        """The voice that is tuned first, under "voice", then the others by their names."""
        main = DataSource(self.path, 1.0, self.format, self.speakers)
        return {"voice": main, **{name: DataSource(**settings) for name, settings in (self.sources or {}).items()}}


@dataclass(frozen=True)
class DataSource:
    """One folder of recordings; weight: its clips in an epoch for each clip of the voice that is tuned."""

    path: str
    weight: float
    format: str | None = None
    speakers: str = "auto"


def require_bool(name: str, value: Any) -> None:
    """Raises UserError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise UserError(f"{name}={value} must be true or false.")


def require_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises UserError unless `value` is one of the choices."""
    if value not in choices:
        raise UserError(f"{name}={value} must be one of {', '.join(choices)}.")


def require_integer(name: str, value: Any, at_least: int | None = None) -> None:
    """Raises UserError unless `value` is an integer of at least `at_least`."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or (at_least is not None and value < at_least):
        limit = "" if at_least is None else f" of at least {at_least}"
        raise UserError(f"{name}={value} must be an integer{limit}.")


def require_number(
    name: str,
    value: Any,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> None:
    """Raises UserError unless `value` is a finite number within the limits given."""
    limits = {"at least": at_least, "more than": above, "less than": below, "at most": at_most}
    given = [f"{words} {limit:g}" for words, limit in limits.items() if limit is not None]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if (
        not is_number
        or (at_least is not None and value < at_least)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
        or (at_most is not None and value > at_most)
    ):
        raise UserError(f"{name}={value} must be a number{', ' if given else ''}{' and '.join(given)}.")
