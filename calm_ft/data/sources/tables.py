"""Tables with a header (`CsvTable`).

One bad row must not cost the others. A row between commas or semicolons may run over several lines inside quotes, and
a quote that is never closed would swallow the rest of the file; such a row ends before the next line that clearly
begins a row, and is excluded. Columns between tabs or bars are often not quoted at all: there a row is one line, and
quotes that do not fit belong to the text.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_ft.data.sources.finding_audio import AudioFinder, is_audio
from calm_ft.data.sources.recordings import (
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    Columns,
    FaultyRow,
    ListedClip,
    ListFormat,
    find_columns,
    segment_of,
)
from calm_ft.data.sources.text_lines import decode_line, first_line, numbered_lines
from calm_ft.data.utterance import UnusableClip

DELIMITERS = (",", "\t", ";", "|")
UNQUOTED_DELIMITERS = ("\t", "|")
QUOTE = '"'
MAX_LINES_OF_A_ROW = 50


@dataclass(frozen=True)
class TableRow:
    """The number of a row's first line and its cells, or the reason why it cannot be read."""

    line: int
    cells: list[str]
    fault: str | None = None


@dataclass(frozen=True)
class TableHeader:
    """A table's first row: the delimiter, all names in order, and the columns that are read."""

    delimiter: str
    names: list[str]
    columns: Columns


class CsvTable(ListFormat):
    """A header, and columns between commas, tabs or semicolons: `path,text` and perhaps `speaker` and `language`.

    The usual names of columns are known; `start` with `duration` or `end` makes a row a segment of a long file.
    """

    name = "csv"
    suffixes = TABLE_SUFFIXES
    expected = "a header that names columns of audio and text, such as path,text or file,speaker,text"
    delimiters = (",", "\t", ";")

    def recognises(self, path: Path) -> bool:
        return path.suffix.lower() not in JSON_SUFFIXES and self.can_read(path)

    def can_read(self, path: Path) -> bool:
        return find_header(path, self.delimiters) is not None

    def describe(self, path: Path) -> str:
        header = find_header(path, self.delimiters)
        is_tsv = header is not None and header.delimiter == "\t"
        return f"{'TSV' if is_tsv else 'CSV'} {path.name}"

    def rows(self, path: Path, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
        header = find_header(path, self.delimiters)
        assert header is not None
        return rows_below_header(path, header, finder)


def find_header(path: Path, delimiters: Sequence[str] = DELIMITERS) -> TableHeader | None:
    """The first row as a header; None unless it names a column of audio and one of texts."""
    try:
        line = first_line(path)
    except UnusableClip:
        return None
    for delimiter in delimiters:
        try:
            names = _split_line(line, delimiter)
        except UnusableClip:
            continue
        columns = find_columns(names)
        if columns is not None:
            return TableHeader(delimiter, names, columns)
    return None


def rows_below_header(path: Path, header: TableHeader, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
    """The rows of a table whose first row is its header."""

    def begins_row(cells: list[str]) -> bool:
        names = [cell.strip().strip('"') for cell in cells]
        return any(is_audio(Path(name)) or finder.has(name) for name in names)

    rows = _table_rows(path, header.delimiter, begins_row)
    next(rows)
    return (_clip(row, header) for row in rows)


def _clip(row: TableRow, header: TableHeader) -> ListedClip | FaultyRow:
    if row.fault is not None:
        return FaultyRow(row.line, row.fault)
    num_cells, num_columns = len(row.cells), len(header.names)
    if any(cell.strip() for cell in row.cells[num_columns:]):
        delimiter = "tab" if header.delimiter == "\t" else f"'{header.delimiter}'"
        return FaultyRow(
            row.line,
            f"the row has {num_cells} columns and the header {num_columns}; quote a text that holds a {delimiter}",
        )
    cells = {**dict.fromkeys(header.names, ""), **dict(zip(header.names, row.cells, strict=False))}
    columns = header.columns
    try:
        segment = segment_of({name.strip().lower(): cell for name, cell in cells.items()})
    except UnusableClip as fault:
        return FaultyRow(row.line, str(fault))
    speaker = "" if columns.speaker is None else cells[columns.speaker]
    language = "" if columns.language is None else cells[columns.language]
    return ListedClip(row.line, cells[columns.audio], cells[columns.text], speaker, segment=segment, language=language)


def _table_rows(path: Path, delimiter: str, begins_row: Callable[[list[str]], bool]) -> Iterator[TableRow]:
    """All rows with the header; `begins_row` tells whether the cells of a line clearly begin a row."""
    lines = list(numbered_lines(path))
    place = 0
    while place < len(lines):
        row, num_lines = _next_row(lines[place : place + MAX_LINES_OF_A_ROW], delimiter, begins_row)
        yield row
        place += num_lines


def _next_row(
    lines: Sequence[tuple[int, bytes]], delimiter: str, begins_row: Callable[[list[str]], bool]
) -> tuple[TableRow, int]:
    """The first row of `lines` and its number of lines."""
    number, first = lines[0]
    try:
        return TableRow(number, _split_line(decode_line(first), delimiter)), 1
    except UnusableClip as error:
        fault = str(error)
    if delimiter not in UNQUOTED_DELIMITERS and first.count(b'"') % 2:
        joined = first
        for count, (_, line) in enumerate(lines[1:], start=2):
            if _is_own_row(line, delimiter, begins_row):
                break
            joined += b"\n" + line
            try:
                return TableRow(number, _split_lines(decode_line(joined), delimiter)), count
            except UnusableClip:
                continue
    return TableRow(number, [], fault), 1


def _is_own_row(line: bytes, delimiter: str, begins_row: Callable[[list[str]], bool]) -> bool:
    try:
        return begins_row(decode_line(line).split(delimiter))
    except UnusableClip:
        return False


def _split_line(line: str, delimiter: str) -> list[str]:
    """The cells of one line; raises `UnusableClip` if its quotes do not fit."""
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):  # ValueError: a carriage return outside quotes makes two rows
        if delimiter in UNQUOTED_DELIMITERS:
            return line.split(delimiter)
        where = f" (column {line.index(QUOTE) + 1})" if QUOTE in line else ""
        raise UnusableClip(
            f"the quotes do not fit: one is left open, or one inside a text is not doubled{where}"
        ) from None
    return cells


def _split_lines(text: str, delimiter: str) -> list[str]:
    """The cells of a row over several lines; raises `UnusableClip` if it is not closed or more than one row."""
    try:
        (cells,) = csv.reader([f"{line}\n" for line in text.split("\n")], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        raise UnusableClip("the row is not closed") from None
    return cells
