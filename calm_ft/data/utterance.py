"""What one clip is before it is heard: an id, an audio file, its text, its speaker, perhaps word times.

Convention: an utterance is a whole audio file or a segment of one. `start_sec` and `end_sec` count from the start
of the *file*; its words' times count from the start of the *utterance*, as in the official manifest. An
`Exclusion` is the record of a clip that was left out; its path and reason become one row of a run's
`excluded.jsonl`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_SPEAKER = "speaker"


@dataclass(frozen=True)
class WordTime:
    """One word (or several, where the times between them are unknown) and where it is spoken."""

    word: str
    start_sec: float
    end_sec: float


@dataclass(frozen=True)
class Utterance:
    """One recording with what is said in it; `id` is unique among the recordings that were read together.

    `end_sec` None is the end of the file.
    """

    id: str
    audio_path: Path
    text: str
    speaker: str = DEFAULT_SPEAKER
    words: tuple[WordTime, ...] | None = None
    start_sec: float = 0.0
    end_sec: float | None = None

    @property
    def is_segment(self) -> bool:
        """Whether only a part of the file is meant."""
        return self.start_sec > 0 or self.end_sec is not None


@dataclass(frozen=True)
class Exclusion:
    """One clip, row or file that does not train, and why."""

    path: str
    reason: str


def commonest_reason(exclusions: Sequence[Exclusion]) -> str:
    """The reason given most often, by its first example; reasons that differ only in names and figures count as one."""
    kinds = [re.sub(r"'.*'|\d+(\.\d+)?", "N", exclusion.reason) for exclusion in exclusions]
    most_common_kind = Counter(kinds).most_common(1)[0][0]
    return exclusions[kinds.index(most_common_kind)].reason
