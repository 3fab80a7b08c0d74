"""The small types that every part of the preparation shares: spans of time, words heard, problems found."""

from dataclasses import dataclass, field
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

    An error keeps its clips out of the dataset; a warning and a note only say what was found. `details` says of each
    clip what exactly was found.
    """

    kind: str
    severity: Severity
    title: str
    clips: tuple[str, ...]
    mend: str
    details: tuple[str, ...] = ()


@dataclass
class PreparedClip:
    """One clip of the dataset with what is known of it, but for its words and vectors, which stay on the disk.

    Attributes:
        id: the name by which people and `corrections.jsonl` know it.
        path: the audio file, relative to the dataset.
        source: the recording that it was cut from, as the person gave it, from `source_start_sec` on.
        original_text: the text as it was given or heard; `text` is what is trained on.
        text_from: "given", "aligned" (its part of a longer text was found), "heard" or "corrected".
        confidence: how well text and sound agree, between 0 and 1; None where nothing could judge it.
        language: of the text as it is read: what its row names, --language, or what was detected.
        named_language: the same where its row or --language names it, else empty; this is what the lists say.
        num_tokens: of the text, where a tokenizer was given.
        measures: figures of the sound by name, each with its unit in the name.
        faults: what is wrong with the sound, as pairs of kind and words.
    """

    id: str
    path: str
    source: str
    source_start_sec: float
    source_end_sec: float
    speaker: str
    original_text: str
    text: str
    text_from: str
    duration_sec: float
    confidence: float | None = None
    language: str | None = None
    named_language: str = ""
    num_tokens: int | None = None
    measures: dict[str, float] = field(default_factory=dict)
    faults: tuple[tuple[str, str], ...] = ()
    split: str = "train"
    problems: tuple[str, ...] = ()

    @property
    def recorded_sec(self) -> float:
        """How much of its recording the clip holds: its length without the silence that was put around it."""
        return self.source_end_sec - self.source_start_sec
