"""Tables without a header, of columns between bars or tabs (`PipeTable`, `LJSpeech`, `TabTable`).

Such columns are often not quoted: a row is one line, and quotes belong to the text. What the columns are is told by
what they hold in most rows; where that could be two things, the file is refused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from calm_ft.data.sources.finding_audio import AudioFinder, is_audio
from calm_ft.data.sources.recordings import JSON_SUFFIXES, TABLE_SUFFIXES, FaultyRow, ListedClip, ListFormat
from calm_ft.data.sources.tables import TableRow, find_header, rows_below_header
from calm_ft.data.sources.text_lines import decode_line, numbered_lines
from calm_ft.data.utterance import UnusableClip

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
        return self._rows_without_header(path) if header is None else rows_below_header(path, header, finder)

    def _rows_without_header(self, path: Path) -> Iterator[ListedClip | FaultyRow]:
        rows = _without_measures(list(_plain_rows(path, self.delimiter)))
        layout = _layout([row.cells for row in rows])
        num_columns = (2, 3, 4) if layout == PATH_SPEAKER_LANGUAGE_TEXT else (2, 3)
        for row in rows:
            fault, cells = _fault_of(row, self.columns, num_columns), row.cells
            if fault is not None:
                yield FaultyRow(row.line, fault)
            elif len(cells) == 4:
                yield ListedClip(row.line, cells[0], cells[3], cells[1], language=cells[2])
            elif layout == PATH_SPEAKER_TEXT and len(cells) == 3:
                yield ListedClip(row.line, cells[0], cells[2], cells[1])
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
