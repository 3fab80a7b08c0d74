"""Lines of JSON objects, for every format that is made of them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calm_ft.data.sources.columns import find_columns
from calm_ft.data.sources.listing import FaultyRow, ListedClip, segment_of
from calm_ft.data.sources.recordings import UnusableText, decode_line, numbered_lines

JsonRow = dict[str, Any]


@dataclass(frozen=True)
class NumberedRow:
    """A line's number and its object."""

    line: int
    row: JsonRow


def json_rows(path: Path) -> Iterator[NumberedRow | FaultyRow]:
    """Every line that is not blank."""
    for number, line in numbered_lines(path):
        try:
            yield NumberedRow(number, _parse(line))
        except UnusableText as fault:
            yield FaultyRow(number, str(fault))


def first_row(path: Path) -> JsonRow | None:
    """The first row that is an object; None where there is none."""
    return next((each.row for each in json_rows(path) if isinstance(each, NumberedRow)), None)


def read_json_rows(path: Path, clip_of: Callable[[int, JsonRow], ListedClip]) -> Iterator[ListedClip | FaultyRow]:
    """What `clip_of` makes of (line number, row); its `UnusableText` becomes the row's fault."""
    for each in json_rows(path):
        if isinstance(each, FaultyRow):
            yield each
            continue
        try:
            yield clip_of(each.line, each.row)
        except UnusableText as fault:
            yield FaultyRow(each.line, str(fault))


def clip_by_columns(line: int, row: JsonRow) -> ListedClip:
    """A row whose keys have the usual names of columns."""
    columns = find_columns(row)
    if columns is None:
        raise UnusableText("the row should be an object with an audio file and a text")
    audio, text = text_of(row, columns.audio), text_of(row, columns.text)
    return ListedClip(line, audio, text, speaker_of(row, columns.speaker), segment=segment_of(row))


def text_of(row: JsonRow, name: str) -> str:
    """A string; raises `UnusableText` where it is missing or something else."""
    value = row.get(name)
    if not isinstance(value, str):
        raise UnusableText(f"the row should be an object whose '{name}' is a string")
    return value


def speaker_of(row: JsonRow, name: str | None = "speaker") -> str:
    """The speaker's name or number, empty where there is none."""
    value = None if name is None else row.get(name)
    return "" if value is None else str(value)


def _parse(line: bytes) -> JsonRow:
    try:
        row = json.loads(decode_line(line))
    except (json.JSONDecodeError, RecursionError):
        raise UnusableText("the row is not JSON") from None
    if not isinstance(row, dict):
        raise UnusableText("the row should be an object with an audio file and a text")
    return row
