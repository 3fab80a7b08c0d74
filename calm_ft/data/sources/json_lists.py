"""Lists with one JSON object a line; `JsonList` goes by the usual names of columns, other formats derive from it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calm_ft.data.sources.finding_audio import AudioFinder
from calm_ft.data.sources.recordings import JSON_SUFFIXES, FaultyRow, ListedClip, ListFormat, find_columns, segment_of
from calm_ft.data.sources.text_lines import decode_line, numbered_lines
from calm_ft.data.utterance import UnusableClip

JsonRow = dict[str, Any]


class JsonList(ListFormat):
    """An audio file, a text and perhaps a speaker in each row, as in NVIDIA NeMo's manifests.

    NeMo's names are `audio_filepath`, `text`, `offset` and `duration`.
    """

    name = "jsonl"
    suffixes = JSON_SUFFIXES
    expected = "one object a line with an audio file and a text, such as path and text"

    def has_its_keys(self, row: JsonRow) -> bool:
        """Whether a row has the keys that every row of this format has."""
        return find_columns(row) is not None

    def clip(self, line: int, row: JsonRow) -> ListedClip:
        """The clip in one row; raises `UnusableClip` for a faulty row."""
        columns = find_columns(row)
        if columns is None:
            raise UnusableClip("the row should be an object with an audio file and a text")
        audio, text = text_of(row, columns.audio), text_of(row, columns.text)
        speaker, language = name_of(row, columns.speaker), name_of(row, columns.language)
        return ListedClip(line, audio, text, speaker, segment=segment_of(row), language=language)

    def recognises(self, path: Path) -> bool:
        """By the keys of the first row."""
        return path.suffix.lower() in JSON_SUFFIXES and (row := first_row(path)) is not None and self.has_its_keys(row)

    def can_read(self, path: Path) -> bool:
        row = first_row(path)
        return row is not None and self.has_its_keys(row)

    def describe(self, path: Path) -> str:
        return f"JSON lines {path.name}"

    def rows(self, path: Path, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
        for each in json_rows(path):
            if isinstance(each, FaultyRow):
                yield each
                continue
            try:
                yield self.clip(each.line, each.row)
            except UnusableClip as fault:
                yield FaultyRow(each.line, str(fault))


@dataclass(frozen=True)
class NumberedRow:
    """One line's number and its JSON object."""

    line: int
    row: JsonRow


def json_rows(path: Path) -> Iterator[NumberedRow | FaultyRow]:
    """Every line that is not blank."""
    for number, line in numbered_lines(path):
        try:
            yield NumberedRow(number, _parse(line))
        except UnusableClip as fault:
            yield FaultyRow(number, str(fault))


def first_row(path: Path) -> JsonRow | None:
    """The first row that is an object; None if there is none."""
    return next((each.row for each in json_rows(path) if isinstance(each, NumberedRow)), None)


def text_of(row: JsonRow, name: str) -> str:
    """A string; raises `UnusableClip` if it is missing or of another type."""
    value = row.get(name)
    if not isinstance(value, str):
        raise UnusableClip(f"the row should be an object whose '{name}' is a string")
    return value


def name_of(row: JsonRow, name: str | None) -> str:
    """A name or a number, empty if there is none."""
    value = None if name is None else row.get(name)
    return "" if value is None else str(value)


def _parse(line: bytes) -> JsonRow:
    try:
        row = json.loads(decode_line(line))
    except json.JSONDecodeError as error:
        raise UnusableClip(f"the row is not JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError):  # ValueError: a number of thousands of digits
        raise UnusableClip("the row is not JSON") from None
    if not isinstance(row, dict):
        raise UnusableClip("the row should be an object with an audio file and a text")
    return row
