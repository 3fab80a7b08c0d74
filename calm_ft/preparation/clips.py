"""The small types that every part of the preparation shares: spans of time, words heard, problems found."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Span:
    """A stretch of a recording, in seconds from its start."""

    start_sec: float
    end_sec: float

    @property
    def duration_sec(self) -> float:
        return self.end_sec - self.start_sec


@dataclass(frozen=True)
class HeardWord:
    """One word that a recogniser or an aligner found, and when; `confidence` is between 0 and 1 where it is known."""

    word: str
    start_sec: float
    end_sec: float
    confidence: float | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong with some clips, or with the whole set, and how a person mends it.

    An error keeps its clips out of the dataset; a warning and a note only say what was found.
    """

    kind: str
    severity: Severity
    title: str
    clips: tuple[str, ...]
    mend: str
