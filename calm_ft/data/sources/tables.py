"""Tables, with a header (`CsvTable`) or with columns between bars or tabs (`PipeTable`, `LJSpeech`, `TabTable`).

One bad row must not cost the others. A row between commas or semicolons may run over several lines inside quotes, and
a quote that is never closed would swallow the rest of the file; such a row ends before the next line that clearly
begins a row, and is excluded. Columns between tabs or bars are often not quoted at all: there a row is one line, and
quotes that do not fit belong to the text.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calm_ft.data.sources.finding_audio import AudioFinder, is_audio
from calm_ft.data.sources.recordings import (
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    Columns,
    FaultyRow,
    ListedClip,
    ListFormat,
    decode_line,
    find_columns,
    first_line,
    numbered_lines,
    segment_of,
)
from calm_ft.data.utterance import UnusableClip

DELIMITERS = (",", "\t", ";", "|")
UNQUOTED_DELIMITERS = ("\t", "|")
QUOTE = '"'
MAX_LINES_OF_A_ROW = 50

# What the columns between bars are if there is no header.
ID_TEXT = "id|text"
ID_TEXT_NORMALIZED = "id|text|normalized text"
PATH_TEXT_SPEAKER = "path|text|speaker"
PATH_SPEAKER_TEXT = "path|speaker|text"
PATH_SPEAKER_LANGUAGE_TEXT = "path|speaker|language|text"
NUM_COLUMNS_READ = (2, 3, 4)
SPEAKER_MAX_CHARACTERS = 40
NUM_ROWS_LOOKED_AT = 1000
# Durations, sizes and sample counts; a speaker's number is whole and comes again.
MEASURE = re.compile(r"\d+([.:]\d+)*\s*(s|sec|ms)?")
MIN_ROWS_OF_WHOLE_MEASURES = 10
LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?")


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
    """A header, and columns between commas, tabs or semicolons: `path,text` and perhaps `speaker`.

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
        return _rows_below_header(path, header, finder)


class PipeTable(ListFormat):
    """Columns between bars, a path first: file lists of VITS, and the tables of Coqui, XTTS and F5-TTS.

    With a header (`audio_file|text|speaker_name`), columns go by their names. Without one, a row is `path|text`,
    `path|text|speaker`, `path|speaker|text` or `path|speaker|language|text`. Columns of durations at the end are not
    read.
    """

    name = "pipe_csv"
    suffixes = TABLE_SUFFIXES
    expected = "rows path|text or path|text|speaker, with or without a header"
    delimiter = "|"
    columns = "path|text or path|text|speaker"

    def recognises(self, path: Path) -> bool:
        """By a header, or by columns that are clearly paths, texts and speakers."""
        if path.suffix.lower() in JSON_SUFFIXES:
            return False
        header = find_header(path)
        if header is not None:
            return header.delimiter == "|"
        layout, names_paths = _layout_of_file(path)
        named = (PATH_TEXT_SPEAKER, PATH_SPEAKER_TEXT, PATH_SPEAKER_LANGUAGE_TEXT)
        return layout in named or (layout == ID_TEXT and names_paths)

    def can_read(self, path: Path) -> bool:
        return any(len(row.cells) > 1 for row in _plain_rows(path, self.delimiter))

    def describe(self, path: Path) -> str:
        return f"columns between bars in {path.name}"

    def rows(self, path: Path, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
        header = find_header(path, (self.delimiter,))
        return self._rows_without_header(path) if header is None else _rows_below_header(path, header, finder)

    def _rows_without_header(self, path: Path) -> Iterator[ListedClip | FaultyRow]:
        rows = _without_measures(list(_plain_rows(path, self.delimiter)))
        layout = _layout([row.cells for row in rows])
        num_columns = (2, 3, 4) if layout == PATH_SPEAKER_LANGUAGE_TEXT else (2, 3)
        for row in rows:
            fault, cells = _fault_of(row, self.columns, num_columns), row.cells
            if fault is not None:
                yield FaultyRow(row.line, fault)
            elif len(cells) == 4 or (layout == PATH_SPEAKER_TEXT and len(cells) == 3):
                yield ListedClip(row.line, cells[0], cells[-1], cells[1])
            elif layout == ID_TEXT_NORMALIZED:
                yield ListedClip(row.line, cells[0], _last_text(cells))
            else:
                yield ListedClip(row.line, cells[0], cells[1], "".join(cells[2:]))


class TabTable(PipeTable):
    """Columns between tabs without a header, an audio file or its id first: `path` and text, perhaps a speaker."""

    name = "tsv"
    expected = "rows of a path, a tab and a text, without a header"
    delimiter = "\t"
    columns = "a path, a text and perhaps a speaker"

    def recognises(self, path: Path) -> bool:
        """By columns between tabs of which the first are paths or ids of one word."""
        if path.suffix.lower() in JSON_SUFFIXES or find_header(path) is not None:
            return False
        rows = [row.cells for row in _plain_rows(path, "\t") if len(row.cells) > 1]
        are_names = all(is_audio(Path(cells[0])) or len(cells[0].split()) == 1 for cells in rows)
        return are_names and bool(rows) and _layout_of_file(path, "\t")[0] is not None

    def can_read(self, path: Path) -> bool:
        return find_header(path, ("\t",)) is None and super().can_read(path)

    def describe(self, path: Path) -> str:
        return f"columns between tabs in {path.name}"


class LJSpeech(ListFormat):
    """LJSpeech's `metadata.csv`: rows `id|text` or `id|text|normalized text` without header and quotes.

    The audio of `id` lies in `wavs/` or beside the table; the id may have a suffix. The normalized text (numbers and
    abbreviations written out) is used if there is one, because it is what is spoken.
    """

    name = "ljspeech"
    suffixes = TABLE_SUFFIXES
    expected = "rows id|text or id|text|normalized text without a header"
    audio_folders = ("wavs/", "")

    def recognises(self, path: Path) -> bool:
        """By rows of bare ids and texts."""
        if path.suffix.lower() in JSON_SUFFIXES or find_header(path) is not None:
            return False
        layout, names_paths = _layout_of_file(path)
        return layout == ID_TEXT_NORMALIZED or (layout == ID_TEXT and not names_paths)

    def can_read(self, path: Path) -> bool:
        return find_header(path) is None and any(len(row.cells) > 1 for row in _plain_rows(path))

    def describe(self, path: Path) -> str:
        return f"LJSpeech {path.name}"

    def rows(self, path: Path, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
        for row in _without_measures(list(_plain_rows(path))):
            fault, cells = _fault_of(row, "id|text or id|text|normalized text"), row.cells
            if fault is not None:
                yield FaultyRow(row.line, fault)
            else:
                yield ListedClip(row.line, cells[0], _last_text(cells))


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


def _rows_below_header(path: Path, header: TableHeader, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
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
    return ListedClip(row.line, cells[columns.audio], cells[columns.text], speaker, segment=segment)


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


def _plain_rows(path: Path, delimiter: str = "|") -> Iterator[TableRow]:
    """All rows between bars or tabs; quotes are part of the text."""
    for number, line in numbered_lines(path):
        try:
            yield TableRow(number, [cell.strip() for cell in decode_line(line).split(delimiter)])
        except UnusableClip as fault:
            yield TableRow(number, [], str(fault))


def _without_measures(rows: list[TableRow]) -> list[TableRow]:
    """The rows without the last column, as long as it holds durations and more than a path and a text are left."""
    read = [row.cells for row in rows if len(row.cells) > 1]
    while read and min(map(len, read)) > 2 and _are_measures([cells[-1] for cells in read]):
        rows = [replace(row, cells=row.cells[:-1]) if len(row.cells) > 1 else row for row in rows]
        read = [cells[:-1] for cells in read]
    return rows


def _fault_of(row: TableRow, expected: str, num_columns: tuple[int, ...] = (2, 3)) -> str | None:
    if row.fault is None and len(row.cells) not in num_columns:
        return f"the row has {len(row.cells)} columns and should be {expected}"
    return row.fault


def _last_text(cells: list[str]) -> str:
    """The last cell after the first one that is not empty."""
    return next((text for text in reversed(cells[1:]) if text), "")


def _layout_of_file(path: Path, delimiter: str = "|") -> tuple[str | None, bool]:
    """What the columns are, and whether the first ones are paths rather than bare ids."""
    found = _without_measures(list(_plain_rows(path, delimiter)))
    rows = [row.cells for row in found if len(row.cells) in NUM_COLUMNS_READ]
    names_paths = any("/" in cells[0] or "\\" in cells[0] or is_audio(Path(cells[0])) for cells in rows)
    return (_layout(rows) if rows else None), names_paths


def _layout(rows: Sequence[list[str]]) -> str | None:
    """What the columns of most rows are; None if the rows do not tell.

    LJSpeech's third column repeats the text, normalized; other tools put a speaker there, or between path and text.
    This is not guessed: a speaker's name taken for a text would be trained on without notice.
    """
    looked_at = rows[:NUM_ROWS_LOOKED_AT]
    quadruples = [cells for cells in looked_at if len(cells) == 4]
    if 2 * len(quadruples) > len(looked_at):
        are_languages = all(LANGUAGE.fullmatch(cells[2]) for cells in quadruples)
        return PATH_SPEAKER_LANGUAGE_TEXT if are_languages else None
    triples = [cells for cells in looked_at if len(cells) == 3]
    if not triples:
        return ID_TEXT
    second, third = [cells[1] for cells in triples], [cells[2] for cells in triples]
    if not any(second) or not any(third) or _restates(third, second):
        return ID_TEXT_NORMALIZED
    speakers = (_are_speakers(second), _are_speakers(third))
    return {(False, True): PATH_TEXT_SPEAKER, (True, False): PATH_SPEAKER_TEXT}.get(speakers)


def _are_measures(cells: list[str]) -> bool:
    """Whether these are numbers that measure: with a fraction, or whole ones of which hardly any comes again."""
    if not all(MEASURE.fullmatch(cell) for cell in cells):
        return False
    if any(not cell.isdigit() for cell in cells):
        return True
    return len(cells) >= MIN_ROWS_OF_WHOLE_MEASURES and 2 * len(set(cells)) > len(cells)


def _restates(third: list[str], second: list[str]) -> bool:
    """Whether most third cells share a word with the second cell of their row, as a normalized text does."""

    def words(text: str) -> set[str]:
        return {word.strip(".,;:!?\"'").lower() for word in text.split()}

    pairs = [(each, other) for each, other in zip(third, second, strict=True) if each]
    return 2 * sum(not words(each).isdisjoint(words(other)) for each, other in pairs) > len(pairs)


def _are_speakers(cells: list[str]) -> bool:
    """Whether these are short names: of one word each, or repeated from row to row."""
    names = {cell for cell in cells if cell}
    if not names or any(len(name) > SPEAKER_MAX_CHARACTERS or name[-1] in ".,!?" for name in names):
        return False
    return all(len(name.split()) == 1 for name in names) or len(names) <= max(1, len(cells) / 2)
