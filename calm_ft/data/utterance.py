"""What one clip is before it is heard: an id, an audio file, its text, its speaker, perhaps word times.

Convention: times are seconds from the start of the audio *file*. An `Exclusion` is the record of a clip that
was left out; its path and reason become one row of a run's `excluded.jsonl`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_SPEAKER = "speaker"


@dataclass(frozen=True)
class WordTime:
    """One word and where it is spoken."""

    word: str
    start_sec: float
    end_sec: float


@dataclass(frozen=True)
class Utterance:
    """One recording with what is said in it; `id` is unique among the recordings that were read together."""

    id: str
    audio_path: Path
    text: str
    speaker: str = DEFAULT_SPEAKER
    words: tuple[WordTime, ...] | None = None


@dataclass(frozen=True)
class Exclusion:
    """One clip, row or file that does not train, and why."""

    path: str
    reason: str


def commonest_reason(exclusions: Sequence[Exclusion]) -> str:
    """The reason given most often, by its first example; reasons that differ only in figures count as one."""
    kinds = [re.sub(r"\d+(\.\d+)?", "N", exclusion.reason) for exclusion in exclusions]
    most_common_kind = Counter(kinds).most_common(1)[0][0]
    return exclusions[kinds.index(most_common_kind)].reason
