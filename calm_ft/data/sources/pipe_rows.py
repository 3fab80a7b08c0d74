"""Rows of two or three columns between bars, without a header: which of them is the text, which the speaker.

LJSpeech's third column is the text once more, normalized; file lists of other tools put a speaker there, or between
path and text. A speaker's name taken for a text would train on silently, so that what is not plain is not guessed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_ft.data.sources.recordings import UnusableText, decode_line, is_audio, numbered_lines

ID_TEXT = "id|text"
ID_TEXT_NORMALIZED = "id|text|normalized text"
PATH_TEXT_SPEAKER = "path|text|speaker"
PATH_SPEAKER_TEXT = "path|speaker|text"
SPEAKER_MAX_CHARACTERS = 40
NUM_ROWS_LOOKED_AT = 1000


@dataclass(frozen=True)
class PipeRow:
    """A row's line number and its cells, or why it has none."""

    line: int
    cells: list[str]
    fault: str | None = None


def pipe_rows(path: Path) -> Iterator[PipeRow]:
    """All rows; quotes are part of the text here."""
    for number, line in numbered_lines(path):
        try:
            yield PipeRow(number, [cell.strip() for cell in decode_line(line).split("|")])
        except UnusableText as fault:
            yield PipeRow(number, [], str(fault))


def layout(rows: Sequence[list[str]]) -> str | None:
    """What the columns of most rows are, one of the names above; None where the rows do not tell."""
    triples = [cells for cells in rows[:NUM_ROWS_LOOKED_AT] if len(cells) == 3]
    if not triples:
        return ID_TEXT
    second, third = [cells[1] for cells in triples], [cells[2] for cells in triples]
    if not any(third) or _restates(third, second):
        return ID_TEXT_NORMALIZED
    speakers = (_are_speakers(second), _are_speakers(third))
    return {(False, True): PATH_TEXT_SPEAKER, (True, False): PATH_SPEAKER_TEXT}.get(speakers)


def names_paths(rows: Sequence[list[str]]) -> bool:
    """Whether the first cells are paths (a folder or an audio suffix) rather than bare ids."""
    return any("/" in cells[0] or "\\" in cells[0] or is_audio(Path(cells[0])) for cells in rows if cells)


def _restates(third: list[str], second: list[str]) -> bool:
    """Whether most third cells share a word with the second beside them, as a normalized text does."""
    pairs = [(each, other) for each, other in zip(third, second, strict=True) if each]
    return 2 * sum(not _words(each).isdisjoint(_words(other)) for each, other in pairs) > len(pairs)


def _words(text: str) -> set[str]:
    return {word.strip(".,;:!?\"'").lower() for word in text.split()}


def _are_speakers(cells: list[str]) -> bool:
    """Whether these are short names: of one word each, or the same ones again and again."""
    names = {cell for cell in cells if cell}
    if not names or any(len(name) > SPEAKER_MAX_CHARACTERS or name[-1] in ".,!?" for name in names):
        return False
    return all(len(name.split()) == 1 for name in names) or len(names) <= max(1, len(cells) / 2)
