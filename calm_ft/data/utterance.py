"""One clip before its audio is read: id, audio file, text, speaker and, if known, the times of its words.

Convention: an utterance is a whole audio file or a segment of one. `start_sec` and `end_sec` count from the start of
the *file*, the times of its words from the start of the *utterance*, as in the official manifest. An `Exclusion`
records a clip that was left out; its path and reason become one row of a run's `excluded.jsonl`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_SPEAKER = "speaker"


@dataclass(frozen=True)
class WordTime:
    """One word (or several, if the times between them are unknown) and when it is spoken."""

    word: str
    start_sec: float
    end_sec: float


@dataclass(frozen=True)
class Utterance:
    """One recording and its text; `id` is unique among the recordings that are read together.

    `end_sec` None means the end of the file. `is_replayed`: it is of one of `data.sources`, not of the tuned voice.
    `split` is the part that the list gives it (train or validation), `language` the ISO 639-1 code that it gives it;
    each is empty if it gives none.
    """

    id: str
    audio_path: Path
    text: str
    speaker: str = DEFAULT_SPEAKER
    words: tuple[WordTime, ...] | None = None
    start_sec: float = 0.0
    end_sec: float | None = None
    is_replayed: bool = False
    split: str = ""
    language: str = ""

    @property
    def is_segment(self) -> bool:
        """Whether the utterance is only a part of its file."""
        return self.start_sec > 0 or self.end_sec is not None


class UnusableClip(Exception):  # noqa: N818 - a verdict on one clip, caught clip by clip
    """A clip that cannot be trained on; the message becomes the reason of its `Exclusion`."""


@dataclass(frozen=True)
class Exclusion:
    """One clip, row or file that is left out, and why; both are kept in a form that every console can encode.

    `duration_sec` is how much speech is lost by it, None where that is not known.
    """

    path: str
    reason: str
    duration_sec: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", printable(self.path))
        object.__setattr__(self, "reason", printable(self.reason))


def printable(name: Path | str) -> str:
    r"""The name as valid Unicode: bytes of a file name that are not UTF-8 are written as `\udcff`."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def known_sec(exclusions: Sequence[Exclusion]) -> float:
    """How much was left out, as far as it is known."""
    return sum(exclusion.duration_sec or 0.0 for exclusion in exclusions)


def commonest_reason(exclusions: Sequence[Exclusion]) -> str:
    """The first example of the most frequent reason; reasons that differ only in names and numbers count as one."""
    kinds = [re.sub(r"'.*'|ffmpeg .*|\d+(\.\d+)?", "N", exclusion.reason) for exclusion in exclusions]
    most_common_kind = Counter(kinds).most_common(1)[0][0]
    return exclusions[kinds.index(most_common_kind)].reason
