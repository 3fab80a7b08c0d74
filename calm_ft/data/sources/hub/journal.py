"""Which rows of a table of the hub were read: one line of JSON each, added after its clip is in the cache."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from calm_ft.data.sources.clip_cache import cache_refusal, clip_cache
from calm_ft.data.sources.hub.sets import HubSet
from calm_ft.data.sources.hugging_face import StoredRow


class Journal:
    """The rows of one table, in order; the last line says whether there are no others.

    A line that a kill cut short, and one whose clip was deleted since, end it: from there on the table is read again.
    """

    def __init__(self, path: Path) -> None:
        self.rows: list[StoredRow] = []
        self.is_complete = False
        self._path = path
        self._num_bytes = 0

    @classmethod
    def of(cls, found: HubSet, table: str) -> "Journal":
        """By the content of the table and of all audio files of its set, since its rows may name those."""
        files = [table, *found.audio]
        names = json.dumps([found.files[table].digest, [(each, found.files[each].digest) for each in files[1:]]])
        return cls(clip_cache() / "hub" / f"{hashlib.sha256(names.encode()).hexdigest()[:32]}.jsonl")

    @property
    def lock_path(self) -> Path:
        """Held while rows are added."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.with_suffix(".lock")

    def has(self, num_rows: int | None) -> bool:
        """Whether nothing is left to read of so many rows, or of all."""
        return self.is_complete or (num_rows is not None and len(self.rows) >= num_rows)

    def load(self) -> None:
        """Reads what is there."""
        self.rows, self.is_complete, self._num_bytes = [], False, 0
        content = self._path.read_bytes() if self._path.exists() else b""
        for line in content.splitlines(keepends=True):
            try:
                given = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                return
            if given == {"end": len(self.rows)}:
                self.is_complete = True
                return
            row = _row(given)
            if row is None:
                return
            self.rows.append(row)
            self._num_bytes += len(line)

    def append(self, rows: Sequence[StoredRow]) -> None:
        """Adds rows. Raises UserError where the disk is full or cannot be written."""
        cache = clip_cache()
        lines = []
        for row in rows:
            audio = Path(row.audio)
            inside = audio.relative_to(cache).as_posix() if row.audio and audio.is_relative_to(cache) else row.audio
            lines.append(json.dumps(asdict(replace(row, audio=inside))) + "\n")
        self._write("".join(lines).encode())
        self.rows.extend(rows)

    def end(self) -> None:
        """Says that the table has no other row."""
        self._write(json.dumps({"end": len(self.rows)}).encode() + b"\n")
        self.is_complete = True

    def _write(self, content: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                file.truncate(self._num_bytes)
                file.write(content)
        except OSError as error:
            raise cache_refusal(error) from error
        self._num_bytes += len(content)


def _row(given: object) -> StoredRow | None:
    """The row of a line, None where it is none or its clip is gone."""
    try:
        row = StoredRow(**given)  # type: ignore[arg-type]
    except TypeError:
        return None
    if not row.audio:
        return row if row.fault else None
    path = clip_cache() / row.audio
    return replace(row, audio=str(path)) if os.path.isfile(path) else None
