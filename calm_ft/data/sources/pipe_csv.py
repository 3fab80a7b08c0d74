"""Rows between bars that begin with a path: file lists of VITS, and the tables of Coqui, XTTS and F5-TTS.

With a header (`audio_file|text|speaker_name`) the names of the columns count; without one, a row is `path|text`,
`path|text|speaker` or `path|speaker|text`.
"""

from collections.abc import Iterator
from pathlib import Path

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.listing import FaultyRow, ListedClip, add_rows
from calm_ft.data.sources.pipe_rows import PATH_SPEAKER_TEXT, layout, pipe_rows
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.sources.table import find_header, read_table
from calm_ft.data.sources.unfit import unfit


def read_pipe_csv(path: Path) -> Recordings:
    """Reads the rows; raises `UserError` for a file without bars."""
    if all(len(row.cells) < 2 for row in pipe_rows(path)):
        raise unfit(path, "pipe_csv", "rows path|text or path|text|speaker, with or without a header")
    recordings = Recordings("pipe_csv", f"columns between bars in {path.name}")
    finder = AudioFinder(path.parent)
    header = find_header(path, ("|",))
    rows = _clips(path) if header is None else read_table(path, header, finder)
    add_rows(recordings, path, rows, finder, path.parent)
    return recordings


def _clips(path: Path) -> Iterator[ListedClip | FaultyRow]:
    rows = list(pipe_rows(path))
    speaker_first = layout([row.cells for row in rows]) == PATH_SPEAKER_TEXT
    for row in rows:
        cells = row.cells
        if row.fault is not None:
            yield FaultyRow(row.line, row.fault)
        elif len(cells) not in (2, 3):
            yield FaultyRow(row.line, f"the row has {len(cells)} columns and should be path|text or path|text|speaker")
        elif speaker_first and len(cells) == 3:
            yield ListedClip(row.line, cells[0], cells[2], cells[1])
        else:
            yield ListedClip(row.line, cells[0], cells[1], "".join(cells[2:]))
