"""A run's plain settings, checked before anything is loaded: a wrong value is one sentence."""

import math
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
    checkpoint_every_n_steps: int

    def __post_init__(self) -> None:
        require_integer("seed", self.seed)
        require_number("ema_decay", self.ema_decay, at_least=0, below=1)
        require_integer("checkpoint.every_n_steps", self.checkpoint_every_n_steps, at_least=1)


@dataclass(frozen=True)
class DataSettings:
    """Where the recordings lie and how they become batches; see conf/data/recordings.yaml.

    Raises UserError for a value out of range.
    """

    path: str
    cache_dir: str
    tail_sec: float
    max_duration_sec: float
    validation_fraction: float
    max_frames_per_batch: int
    max_batch_size: int
    num_workers: int

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
