"""LJSpeech's `metadata.csv`: a row `id|text` or `id|text|normalized text` a clip, no header, no quoting.

The audio of `id` lies in `wavs/` or beside metadata.csv, with or without its suffix in the id. Where there is
a normalized text (figures and abbreviations written out), it is the one that is used, for it is what is
spoken.
"""

from collections.abc import Iterator
from pathlib import Path

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.listing import FaultyRow, ListedClip, add_rows
from calm_ft.data.sources.pipe_rows import pipe_rows
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.sources.table import find_header
from calm_ft.data.sources.unfit import unfit

PLACES = ("wavs/", "")


def read_ljspeech(path: Path) -> Recordings:
    """Reads the rows of a metadata.csv; raises `UserError` for a table with a header or with other separators."""
    if find_header(path) is not None or all(len(row.cells) < 2 for row in pipe_rows(path)):
        raise unfit(path, "ljspeech", "rows id|text or id|text|normalized text without a header")
    recordings = Recordings("ljspeech", f"LJSpeech {path.name}")
    add_rows(recordings, path, _clips(path), AudioFinder(path.parent, PLACES), path.parent)
    return recordings


def _clips(path: Path) -> Iterator[ListedClip | FaultyRow]:
    for row in pipe_rows(path):
        cells = row.cells
        if row.fault is not None:
            yield FaultyRow(row.line, row.fault)
        elif len(cells) not in (2, 3):
            yield FaultyRow(
                row.line, f"the row has {len(cells)} columns and should be id|text or id|text|normalized text"
            )
        else:
            yield ListedClip(row.line, cells[0], next((text for text in reversed(cells[1:]) if text), ""))
