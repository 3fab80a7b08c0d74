"""From the rows of a table or manifest to recordings: the part that all formats share.

A reader gives one `ListedClip` or `FaultyRow` a row; here the audio is found, the text checked, and whatever is wrong
noted with file and line.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.recordings import Recordings, UnusableText, checked_text, clip_id
from calm_ft.data.utterance import Utterance, WordTime


@dataclass(frozen=True)
class Segment:
    """Which part of a file is meant, in seconds; `end_sec` None is the file's end."""

    start_sec: float = 0.0
    end_sec: float | None = None


@dataclass(frozen=True)
class ListedClip:
    """One row as it was written: the audio not yet found, the text not yet checked, no speaker where none is named."""

    line: int
    audio: str
    text: str
    speaker: str = ""
    words: tuple[WordTime, ...] | None = None
    segment: Segment = Segment()


@dataclass(frozen=True)
class FaultyRow:
    """One row that nothing can be made of."""

    line: int
    reason: str


def add_rows(
    recordings: Recordings, listing: Path, rows: Iterable[ListedClip | FaultyRow], finder: AudioFinder, root: Path
) -> None:
    """Adds what the rows list; ids count from `root`."""
    for row in rows:
        place = f"{listing}:{row.line}"
        try:
            if isinstance(row, FaultyRow):
                raise UnusableText(row.reason)
            recordings.add(_utterance(row, finder.find(row.audio), root), place)
        except UnusableText as fault:
            recordings.exclude(place, str(fault))


def segment_of(row: Mapping[str, Any]) -> Segment:
    """The segment that a row means by `start` (or `offset`) with `duration` or `end`; without a start, the whole file.

    Raises UnusableText for times that are none, and for a start behind which no end is given.
    """
    given = {name: value for name, value in row.items() if value not in (None, "")}
    start = given.get("start", given.get("offset"))
    if start is None:
        return Segment()
    start_sec = number_sec(start, "start")
    if "duration" in given:
        return Segment(start_sec, start_sec + number_sec(given["duration"], "duration"))
    if "end" in given:
        return Segment(start_sec, number_sec(given["end"], "end"))
    if start_sec > 0:
        raise UnusableText("the row has a start within its audio file and neither a duration nor an end")
    return Segment()


def number_sec(value: Any, name: str) -> float:
    """A time in seconds; raises UnusableText for anything but a number of at least 0."""
    try:
        time_sec = float(value)
    except (TypeError, ValueError):
        time_sec = math.nan
    if not 0 <= time_sec < math.inf or isinstance(value, bool):
        raise UnusableText(f"{name} should be a time in seconds, not {value!r}")
    return time_sec


def _utterance(row: ListedClip, audio_path: Path, root: Path) -> Utterance:
    # Not the end: a row given again with other times is the same clip, and an id should outlive a trimmed end.
    suffix = f"@{row.segment.start_sec:.3f}" if row.segment.start_sec > 0 else ""
    return Utterance(
        clip_id(audio_path, root) + suffix,
        audio_path,
        checked_text(row.text),
        " ".join(row.speaker.split()),
        row.words,
        row.segment.start_sec,
        row.segment.end_sec,
    )
