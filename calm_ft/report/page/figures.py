"""What the folder of a run says, as plain data; a figure that is not there, or is no number, is None."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Direction = Literal["lower", "higher", "none"]
Curve = tuple[tuple[float, float], ...]
"""(step, value) by rising step."""

REFERENCE, BASE, TUNED = "reference", "base", "tuned"
SYSTEMS = (REFERENCE, "codec", BASE, TUNED)
"""The order in which systems are shown; others come after."""


@dataclass(frozen=True)
class Metric:
    """The mean of a metric over `num` utterances with its interval and median, in `unit`."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    median: float | None = None
    num: int | None = None
    unit: str = ""
    direction: Direction = "none"


@dataclass(frozen=True)
class Difference:
    """The paired difference to the base over `num` utterances, and whether it was judged to be a better one."""

    mean: float | None
    low: float | None
    high: float | None
    num: int | None
    better: bool | None


@dataclass(frozen=True)
class System:
    """One system's figures; `differences` are those to the base, or to another run.

    `rtf` is seconds of work a second of speech, `first_audio_sec` the mean time until the first audio.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    rtf: float | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    first_audio_sec: float | None = None
    why_no_difference: str = ""


@dataclass(frozen=True)
class Utterance:
    """One clip of one system; a text that was not recorded is None."""

    system: str
    index: int
    seed: int
    text: str | None
    audio: Path
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """All figures and clips of a run; `missing` names the metrics that were not measured, with the reason."""

    systems: Mapping[str, System]
    utterances: tuple[Utterance, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    base_voices: Mapping[str, System] = field(default_factory=dict)
    """The systems' figures in voices that were not tuned to; empty where there are none."""
    was_evaluated: bool = True
    """False where the figures are those that the training itself wrote down."""


@dataclass(frozen=True)
class Run:
    """A run: the name it has in the page, run.json, config.yaml, metrics.csv by column, and its evaluation."""

    name: str
    folder: Path
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    curves: Mapping[str, Curve]
    evaluation: Evaluation


def ordered_systems(names: set[str]) -> list[str]:
    """Reference, codec, base, tuned, then all others by name."""
    return [name for name in SYSTEMS if name in names] + sorted(names - set(SYSTEMS))
