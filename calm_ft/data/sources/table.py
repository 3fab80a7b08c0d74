"""Tables with a header: which separator and columns they have, and their rows as clips.

Shared by every format whose first row names the columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.columns import Columns, find_columns
from calm_ft.data.sources.delimited import DELIMITERS, Cells, read_rows, split_row
from calm_ft.data.sources.listing import FaultyRow, ListedClip, segment_of
from calm_ft.data.sources.recordings import UnusableText, decode_line, is_audio, numbered_lines


@dataclass(frozen=True)
class Header:
    """A table's first row: the separator, all names in order, and those of the columns that are read."""

    delimiter: str
    names: list[str]
    columns: Columns


def first_line(path: Path) -> str:
    """The first line that is not blank, empty where there is none; raises `UnusableText` where it is not UTF-8."""
    return next((decode_line(line) for _, line in numbered_lines(path)), "")


def find_header(path: Path, delimiters: Sequence[str] = DELIMITERS) -> Header | None:
    """The header, if the first row is one: it names a column of audio and one of texts."""
    try:
        line = first_line(path)
    except UnusableText:
        return None
    for delimiter in delimiters:
        try:
            names = split_row(line, delimiter)
        except UnusableText:
            continue
        columns = find_columns(names)
        if columns is not None:
            return Header(delimiter, names, columns)
    return None


def read_table(path: Path, header: Header, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
    """The rows below the header."""

    def begins_row(cells: list[str]) -> bool:
        names = [cell.strip().strip('"') for cell in cells]
        return any(is_audio(Path(name)) or finder.has(name) for name in names)

    rows = read_rows(path, header.delimiter, begins_row)
    next(rows)
    return (_clip(row, header) for row in rows)


def _clip(row: Cells, header: Header) -> ListedClip | FaultyRow:
    if row.fault is not None:
        return FaultyRow(row.line, row.fault)
    num_cells, num_columns = len(row.cells), len(header.names)
    if any(cell.strip() for cell in row.cells[num_columns:]):
        separator = "tab" if header.delimiter == "\t" else f"'{header.delimiter}'"
        return FaultyRow(
            row.line,
            f"the row has {num_cells} columns and the header {num_columns}; quote a text that holds a {separator}",
        )
    cells = {**dict.fromkeys(header.names, ""), **dict(zip(header.names, row.cells, strict=False))}
    columns = header.columns
    try:
        segment = segment_of({name.strip().lower(): cell for name, cell in cells.items()})
    except UnusableText as fault:
        return FaultyRow(row.line, str(fault))
    speaker = "" if columns.speaker is None else cells[columns.speaker]
    return ListedClip(row.line, cells[columns.audio], cells[columns.text], speaker, segment=segment)
