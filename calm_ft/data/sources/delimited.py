"""Delimited text as rows of cells, fault by fault: one bad row must not cost the others.

A comma- or semicolon-separated row may go on over several lines inside quotes. A quote that is left open would swallow
the rest of the file: a row that goes on ends before the next line that begins a row of its own, and is left out.
Columns between tabs or bars are often not quoted at all, so that a row there is one line, and marks that are no proper
quoting belong to the text.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_ft.data.sources.recordings import UnusableText, decode_line, numbered_lines

DELIMITERS = (",", "\t", ";", "|")
UNQUOTED_DELIMITERS = ("\t", "|")
MAX_LINES_OF_A_ROW = 50

Lines = Sequence[tuple[int, bytes]]


@dataclass(frozen=True)
class Cells:
    """One row: the number of its first line and its cells, or the fault for which it is left out."""

    line: int
    cells: list[str]
    fault: str | None = None


def split_row(line: str, delimiter: str) -> list[str]:
    """The cells of one line; raises `UnusableText` where its quotes do not fit."""
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):  # ValueError: a carriage return outside quotes makes two rows
        if delimiter in UNQUOTED_DELIMITERS:
            return line.split(delimiter)
        raise UnusableText("the quotes do not fit: one is left open, or one inside a text is not doubled") from None
    return cells


def read_rows(path: Path, delimiter: str, begins_row: Callable[[list[str]], bool]) -> Iterator[Cells]:
    """All rows, the header too; `begins_row` says of cells whether they are surely a row's own."""
    lines = list(numbered_lines(path))
    place = 0
    while place < len(lines):
        row, num_lines = _next_row(lines[place : place + MAX_LINES_OF_A_ROW], delimiter, begins_row)
        yield row
        place += num_lines


def _next_row(lines: Lines, delimiter: str, begins_row: Callable[[list[str]], bool]) -> tuple[Cells, int]:
    """The first row of `lines` and how many of them it takes."""
    number, first = lines[0]
    try:
        return Cells(number, split_row(decode_line(first), delimiter)), 1
    except UnusableText as error:
        fault = str(error)
    if delimiter not in UNQUOTED_DELIMITERS and first.count(b'"') % 2:
        joined = first
        for count, (_, line) in enumerate(lines[1:], start=2):
            if _is_own_row(line, delimiter, begins_row):
                break
            joined += b"\n" + line
            try:
                return Cells(number, _split_lines(decode_line(joined), delimiter)), count
            except UnusableText:
                continue
    return Cells(number, [], fault), 1


def _is_own_row(line: bytes, delimiter: str, begins_row: Callable[[list[str]], bool]) -> bool:
    try:
        return begins_row(decode_line(line).split(delimiter))
    except UnusableText:
        return False


def _split_lines(text: str, delimiter: str) -> list[str]:
    """The cells of a row over several lines; raises `UnusableText` where it is not closed or is more than one."""
    try:
        (cells,) = csv.reader([f"{line}\n" for line in text.split("\n")], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        raise UnusableText("the row is not closed") from None
    return cells
