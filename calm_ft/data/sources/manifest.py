"""Our `manifest.jsonl`: one JSON object a line with `path` and `text`, and where known `speaker` and `words`.

`path` is relative to the manifest's folder, or absolute. `words` is a list of {word, start_sec, end_sec} in
the order of speaking, counted from the start of the utterance. `start_sec` and `end_sec` make the row a segment of its
file. `write_manifest` writes what `read_manifest` reads.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import write_text
from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.json_rows import JsonRow, first_row, read_json_rows, speaker_of, text_of
from calm_ft.data.sources.listing import ListedClip, Segment, add_rows, number_sec
from calm_ft.data.sources.recordings import Recordings, UnusableText
from calm_ft.data.sources.unfit import unfit
from calm_ft.data.utterance import Utterance, WordTime


def is_manifest(row: JsonRow | None) -> bool:
    """Whether a row is one of ours."""
    return row is not None and "path" in row and "text" in row


def read_manifest(path: Path) -> Recordings:
    """Reads the rows of a manifest, excluding faulty ones; raises `UserError` where none is one of ours."""
    if first_row(path) is None:
        raise unfit(path, "manifest", "one object {path, text} a line")
    recordings = Recordings("manifest", f"our manifest {path.name}")
    add_rows(recordings, path, read_json_rows(path, _clip), AudioFinder(path.parent), path.parent)
    return recordings


def write_manifest(manifest_path: Path, utterances: Sequence[Utterance]) -> None:
    """Writes all or nothing; paths below the manifest's folder become relative, so it may move."""
    folder = manifest_path.resolve().parent
    rows = [json.dumps(_row(utterance, folder), ensure_ascii=False) for utterance in utterances]
    write_text(manifest_path, "".join(f"{row}\n" for row in rows))


def _row(utterance: Utterance, folder: Path) -> dict[str, Any]:
    audio_path = utterance.audio_path.resolve()
    inside = audio_path.relative_to(folder) if audio_path.is_relative_to(folder) else audio_path
    row: dict[str, Any] = {"path": inside.as_posix(), "text": utterance.text, "speaker": utterance.speaker}
    if utterance.words is not None:
        row["words"] = [asdict(word) for word in utterance.words]
    if utterance.start_sec > 0:
        row["start_sec"] = utterance.start_sec
    if utterance.end_sec is not None:
        row["end_sec"] = utterance.end_sec
    return row


def _clip(line: int, row: JsonRow) -> ListedClip:
    if not is_manifest(row):
        raise UnusableText("the row should be an object with a path and a text")
    end_sec = None if row.get("end_sec") is None else number_sec(row["end_sec"], "end_sec")
    segment = Segment(number_sec(row.get("start_sec") or 0, "start_sec"), end_sec)
    return ListedClip(
        line, text_of(row, "path"), text_of(row, "text"), speaker_of(row), _parse_words(row.get("words")), segment
    )


def _parse_words(rows: Any) -> tuple[WordTime, ...] | None:
    """Word times in order; an empty list says no more than none does."""
    if rows is None or rows == []:
        return None
    try:
        words = tuple(WordTime(str(r["word"]), float(r["start_sec"]), float(r["end_sec"])) for r in rows)
    except (KeyError, TypeError, ValueError):
        raise UnusableText("words should be a list of {word, start_sec, end_sec}") from None
    return in_order(words)


def in_order(words: tuple[WordTime, ...]) -> tuple[WordTime, ...]:
    """The words; raises `UnusableText` where their times are none or do not follow each other."""
    times = [time for word in words for time in (word.start_sec, word.end_sec)]
    if not all(math.isfinite(time) and time >= 0 for time in times) or times != sorted(times):
        raise UnusableText("the word times do not follow each other")
    return words
