"""`manifest.jsonl`: one JSON object a line with `path` and `text`, and where known `speaker` and `words`.

`path` is relative to the manifest's folder, or absolute. `words` is a list of {word, start_sec, end_sec} in
the order of speaking. `write_manifest` writes what `read_manifest` reads.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import write_text
from calm_ft.data.sources.recordings import (
    Recordings,
    UnusableText,
    checked_text,
    clip_id,
    is_audio,
    numbered_lines,
)
from calm_ft.data.utterance import DEFAULT_SPEAKER, Utterance, WordTime
from calm_ft.errors import UserError

FORMAT_NAME = "manifest.jsonl"


def read_manifest(manifest_path: Path) -> Recordings:
    """Reads the rows of a manifest, excluding faulty ones; raises `UserError` for an empty one."""
    recordings = Recordings(FORMAT_NAME)
    for number, line in numbered_lines(manifest_path):
        place = f"{manifest_path.name} line {number}"
        try:
            utterance = _parse_row(line, manifest_path.parent)
        except UnusableText as fault:
            recordings.exclude(f"{manifest_path}:{number}", f"{place}: {fault}")
            continue
        if utterance.audio_path.is_file():
            recordings.add(utterance, listed_at=place)
        else:
            recordings.exclude(utterance.audio_path, f"{place}: there is no such audio file")
    if not recordings.utterances and not recordings.exclusions:
        raise UserError(f"{manifest_path} is empty; it should hold one row {{path, text}} for each clip.")
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
    return row


def _parse_row(line: bytes, folder: Path) -> Utterance:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise UnusableText("the text is not UTF-8") from None
    except json.JSONDecodeError:
        raise UnusableText("the row is not JSON") from None
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("path", "text")):
        raise UnusableText("the row should be an object with a path and a text")
    audio_path = folder / row["path"]
    if not is_audio(audio_path):
        raise UnusableText(f"{row['path']} is no audio file that can be read")
    text = checked_text(row["text"])
    speaker = str(row.get("speaker") or DEFAULT_SPEAKER)
    return Utterance(clip_id(audio_path, folder), audio_path, text, speaker, _parse_words(row.get("words")))


def _parse_words(rows: Any) -> tuple[WordTime, ...] | None:
    """Word times in order; an empty list says no more than none does."""
    if rows is None or rows == []:
        return None
    try:
        words = tuple(WordTime(str(r["word"]), float(r["start_sec"]), float(r["end_sec"])) for r in rows)
    except (KeyError, TypeError, ValueError):
        raise UnusableText("words should be a list of {word, start_sec, end_sec}") from None
    times = [time for word in words for time in (word.start_sec, word.end_sec)]
    if not all(math.isfinite(time) and time >= 0 for time in times) or times != sorted(times):
        raise UnusableText("the word times do not follow each other")
    return words
