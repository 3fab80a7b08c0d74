"""The official training manifest of Pocket TTS: one JSON object a line, a segment of a file each.

Source: pocket-tts 4.0.1, training/dataloader/types.py and training/scripts/align_data.py. A row is {path, duration,
transcript} and, where known, `words`, `start` and `speaker`. The utterance is [start, start + duration) of the file,
and the words' times count from that start. A word that could not be aligned has no times: there is no knowing where it
ends, so that it is joined with its neighbours, and no prompt can be cut beside it, as upstream makes no cut there.
"""

from pathlib import Path
from typing import Any

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.json_rows import JsonRow, first_row, read_json_rows, speaker_of, text_of
from calm_ft.data.sources.listing import ListedClip, Segment, add_rows, number_sec
from calm_ft.data.sources.manifest import in_order
from calm_ft.data.sources.recordings import Recordings, UnusableText
from calm_ft.data.sources.unfit import unfit
from calm_ft.data.utterance import WordTime


def is_official(row: JsonRow | None) -> bool:
    """Whether a row has what every row of this format has."""
    return row is not None and all(name in row for name in ("path", "duration", "transcript"))


def read_official_manifest(path: Path) -> Recordings:
    """Reads the rows, excluding faulty ones; raises `UserError` where the first one is of another format."""
    if not is_official(first_row(path)):
        raise unfit(path, "official_manifest", "one object {path, duration, transcript} a line")
    recordings = Recordings("official_manifest", f"official manifest {path.name}")
    add_rows(recordings, path, read_json_rows(path, _clip), AudioFinder(path.parent), path.parent)
    return recordings


def _clip(line: int, row: JsonRow) -> ListedClip:
    start_sec = number_sec(row.get("start") or 0, "start")
    duration_sec = number_sec(row.get("duration"), "duration")
    words = _words(row.get("words"), duration_sec)
    segment = Segment(start_sec, start_sec + duration_sec)
    return ListedClip(line, text_of(row, "path"), text_of(row, "transcript"), speaker_of(row), words, segment)


def _words(rows: Any, duration_sec: float) -> tuple[WordTime, ...] | None:
    """Word times, those that are unknown joined with their neighbours; None where not one is known."""
    if rows is None:
        return None
    words: list[WordTime] = []
    waiting: list[str] = []
    try:
        for row in rows:
            word, start, end = str(row["word"]), row.get("start"), row.get("end")
            if start is None or end is None:
                waiting.append(word)
                continue
            if waiting:
                before = words.pop() if words else WordTime("", 0.0, 0.0)
                word = " ".join(filter(None, (before.word, *waiting, word)))
                start, waiting = before.start_sec, []
            words.append(WordTime(word, float(start), float(end)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UnusableText("words should be a list of {word, start, end}") from None
    if waiting and words:
        last = words.pop()
        words.append(WordTime(" ".join((last.word, *waiting)), last.start_sec, max(last.end_sec, duration_sec)))
    return in_order(tuple(words)) if words else None
