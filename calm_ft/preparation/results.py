"""What is already done, kept so that a killed run goes on where it was: a file of JSON lines that is only added to.

Each line holds a name, a fingerprint of everything it was made from, and a row. The last line of a name counts, and
only while its fingerprint is the one that is asked for. A line that was torn by a crash is cut off. Every shard of a
shared dataset writes a file of its own, `results.1-of-4.jsonl`, and reads all of them.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from calm_ft.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _RowPlace:
    """Where the row of a name lies: which file, and from which byte on."""

    file: int
    offset: int
    made_from: str


class Results:
    """The rows of all shards, by name; memory grows by one small entry for each name, not by its row."""

    def __init__(self, folder: Path, shard: str = "") -> None:
        """`shard`: what its own file is called, empty for a run without shards. Raises UserError if it is in use."""
        folder.mkdir(parents=True, exist_ok=True)
        self._own = folder / f"results{shard and '.'}{shard}.jsonl"
        self._lock = FileLock(self._own.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{folder.parent} is being prepared by another process: wait until it ends.") from None
        _cut_torn_line(self._own)
        self._own.touch()
        self._paths = [*sorted(path for path in folder.glob("results*.jsonl") if path != self._own), self._own]
        self._places: dict[str, _RowPlace] = {}
        for number, path in enumerate(self._paths):
            for offset, line in _whole_lines(path):
                row = json.loads(line)
                self._places[row["name"]] = _RowPlace(number, offset, row["made_from"])
        self._open: dict[int, BinaryIO] = {}
        self._writer = self._own.open("ab")

    def has(self, name: str, made_from: str) -> bool:
        """Whether the last row of this name was made from the same things."""
        place = self._places.get(name)
        return place is not None and place.made_from == made_from

    def read(self, name: str) -> Row:
        """The last row of a name. Raises KeyError if there is none."""
        place = self._places[name]
        if place.file not in self._open:
            self._open[place.file] = self._paths[place.file].open("rb")
        file = self._open[place.file]
        file.seek(place.offset)
        row: Row = json.loads(file.readline())["row"]
        return row

    def write(self, name: str, made_from: str, row: Row) -> None:
        """Adds a row and hands it to the operating system, so that killing this process does not lose it."""
        offset = self._writer.tell()
        line = json.dumps({"name": name, "made_from": made_from, "row": row})
        self._writer.write(line.encode() + b"\n")
        self._writer.flush()
        self._places[name] = _RowPlace(len(self._paths) - 1, offset, made_from)

    def close(self) -> None:
        """Lets another process write."""
        for file in (self._writer, *self._open.values()):
            file.close()
        self._lock.release()


@contextmanager
def open_results(folder: Path, shard: str = "") -> Iterator[Results]:
    """The results, closed at the end whatever happens."""
    results = Results(folder, shard)
    try:
        yield results
    finally:
        results.close()


def fingerprint_of(*parts: object) -> str:
    """A short hash of values that print as they are."""
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:24]


def _cut_torn_line(path: Path) -> None:
    """Removes what a crash left behind the last line break."""
    if not path.exists():
        return
    end = max((offset + len(line) for offset, line in _whole_lines(path)), default=0)
    if end < path.stat().st_size:
        os.truncate(path, end)


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that end in a line break, each with the byte that it begins at."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)
