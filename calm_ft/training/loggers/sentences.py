"""`samples/sentences.jsonl`: a row for each sentence that was scored, by step; the file is replaced atomically.

When a run is resumed, a tracker's table is filled again from it. The rows after the checkpoint and those of the export
are dropped then, since the resumed run makes them again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_ft.atomic_file import write_text
from calm_ft.report.result import TUNED

FILE_NAME = "sentences.jsonl"


@dataclass(frozen=True)
class SentenceRow:
    """One sentence as one system said it: "reference", "base", "training" (as it is after `step` steps) or "tuned".

    step is None for a recording; figures are None where they could not be measured.
    """

    system: str
    step: int | None
    sentence: int
    text: str
    audio: Path
    figures: dict[str, float | None]


class SentenceFile:
    """The rows of one run; audio is named by its place beside the file."""

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        """Keep the rows up to `resumed_step`, or start an empty file."""
        self._path = path
        self.rows: list[SentenceRow] = []
        if resumed_step is not None and path.is_file():
            rows = [_row(line, path.parent) for line in path.read_text(encoding="utf-8").splitlines()]
            self.rows = [row for row in rows if row.system != TUNED and (row.step or 0) <= resumed_step]

    def add(self, rows: Sequence[SentenceRow]) -> None:
        """Rewrite the file with these rows at its end."""
        self.rows += rows
        write_text(self._path, "".join(_line(row) + "\n" for row in self.rows))


def _line(row: SentenceRow) -> str:
    return json.dumps({**vars(row), "audio": row.audio.name}, ensure_ascii=False, allow_nan=False)


def _row(line: str, folder: Path) -> SentenceRow:
    content = json.loads(line)
    return SentenceRow(**{**content, "audio": folder / content["audio"]})
