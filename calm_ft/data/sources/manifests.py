"""Manifests with word times: ours (`manifest.jsonl`) and the official training manifest of Pocket TTS."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import write_text
from calm_ft.data.sources.json_lists import JsonList, JsonRow, first_row, name_of, text_of
from calm_ft.data.sources.recordings import ListedClip, Segment, time_sec
from calm_ft.data.utterance import UnusableClip, Utterance, WordTime, printable


class Manifest(JsonList):
    """Our `manifest.jsonl`: one JSON object a line with `path` and `text`, perhaps `speaker`, `language` and `words`.

    `path` is absolute or relative to the manifest's folder. `words` is a list of {word, start_sec, end_sec} in the
    order of speaking, counted from the start of the utterance. `start_sec` and `end_sec` make the row a segment of its
    file. `split` is "train" or "validation"; if rows of both are given, training validates on the latter.
    `write_manifest` writes this format.
    """

    name = "manifest"
    lists_all_audio = False  # a prepared set keeps its held-out clips out of its manifest
    expected = "one object {path, text} a line"

    def has_its_keys(self, row: JsonRow) -> bool:
        return "path" in row and "text" in row

    def can_read(self, path: Path) -> bool:
        """Any rows of JSON objects: rows without path or text are excluded one by one."""
        return first_row(path) is not None

    def describe(self, path: Path) -> str:
        return f"our manifest {path.name}"

    def clip(self, line: int, row: JsonRow) -> ListedClip:
        if not self.has_its_keys(row):
            raise UnusableClip("the row should be an object with a path and a text")
        end_sec = None if row.get("end_sec") is None else time_sec(row["end_sec"], "end_sec")
        segment = Segment(time_sec(row.get("start_sec") or 0, "start_sec"), end_sec)
        words = _parse_words(row.get("words"))
        split, language = str(row.get("split") or ""), name_of(row, "language")
        path, text, speaker = text_of(row, "path"), text_of(row, "text"), name_of(row, "speaker")
        return ListedClip(line, path, text, speaker, words, segment, split, language)


class OfficialManifest(JsonList):
    """The official training manifest of Pocket TTS: one JSON object a line, each a segment of a file.

    Source: pocket-tts 4.0.1, training/dataloader/types.py and training/scripts/align_data.py. A row has {path,
    duration, transcript} and optionally `words`, `start` and `speaker`. The utterance is [start, start + duration) of
    the file; times of words count from that start. A word that could not be aligned has no times. It is joined with
    its neighbours, so that no prompt is cut beside it; upstream makes no cut there either.
    """

    name = "official_manifest"
    expected = "one object {path, duration, transcript} a line"

    def has_its_keys(self, row: JsonRow) -> bool:
        return all(name in row for name in ("path", "duration", "transcript"))

    def describe(self, path: Path) -> str:
        return f"official manifest {path.name}"

    def clip(self, line: int, row: JsonRow) -> ListedClip:
        start_sec = time_sec(row.get("start") or 0, "start")
        duration_sec = time_sec(row.get("duration"), "duration")
        words = _join_unaligned_words(row.get("words"), duration_sec)
        segment = Segment(start_sec, start_sec + duration_sec)
        speaker = name_of(row, "speaker")
        return ListedClip(line, text_of(row, "path"), text_of(row, "transcript"), speaker, words, segment)


def write_manifest(manifest_path: Path, utterances: Sequence[Utterance]) -> None:
    """Writes the whole file or nothing; paths below the manifest's folder become relative, so that it can be moved."""
    folder = manifest_path.resolve().parent
    rows = [_row(utterance, folder) for utterance in utterances]
    write_text(manifest_path, "".join(f"{_json(row)}\n" for row in rows))


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
    if utterance.split:
        row["split"] = utterance.split
    if utterance.language:
        row["language"] = utterance.language
    return row


def _json(row: dict[str, Any]) -> str:
    """JSON for people, or with escapes where a file name is not valid Unicode."""
    text = json.dumps(row, ensure_ascii=False)
    return text if text == printable(text) else json.dumps(row)


def _parse_words(rows: Any) -> tuple[WordTime, ...] | None:
    """Word times in order; an empty list counts as none."""
    if rows is None or rows == []:
        return None
    try:
        words = tuple(WordTime(str(r["word"]), float(r["start_sec"]), float(r["end_sec"])) for r in rows)
    except (KeyError, TypeError, ValueError):
        raise UnusableClip("words should be a list of {word, start_sec, end_sec}") from None
    return _in_order(words)


def _join_unaligned_words(rows: Any, duration_sec: float) -> tuple[WordTime, ...] | None:
    """Word times, with words of unknown time joined to their neighbours; None if no time is known."""
    if rows is None:
        return None
    words: list[WordTime] = []
    unaligned: list[str] = []
    try:
        for row in rows:
            word, start, end = str(row["word"]), row.get("start"), row.get("end")
            if start is None or end is None:
                unaligned.append(word)
                continue
            if unaligned:
                before = words.pop() if words else WordTime("", 0.0, 0.0)
                word = " ".join(filter(None, (before.word, *unaligned, word)))
                start, unaligned = before.start_sec, []
            words.append(WordTime(word, float(start), float(end)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UnusableClip("words should be a list of {word, start, end}") from None
    if unaligned and words:
        last = words.pop()
        words.append(WordTime(" ".join((last.word, *unaligned)), last.start_sec, max(last.end_sec, duration_sec)))
    return _in_order(tuple(words)) if words else None


def _in_order(words: tuple[WordTime, ...]) -> tuple[WordTime, ...]:
    """The words; raises `UnusableClip` if their times are no numbers or do not follow each other."""
    times = [time for word in words for time in (word.start_sec, word.end_sec)]
    if not all(math.isfinite(time) and time >= 0 for time in times) or times != sorted(times):
        raise UnusableClip("the word times do not follow each other")
    return words
