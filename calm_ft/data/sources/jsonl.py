"""One JSON object a line with an audio file, a text and perhaps a speaker, under the usual names of such columns.

NVIDIA NeMo's manifests (`audio_filepath`, `text`, `offset`, `duration`) are of this kind.
"""

from pathlib import Path

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.columns import find_columns
from calm_ft.data.sources.json_rows import clip_by_columns, first_row, read_json_rows
from calm_ft.data.sources.listing import add_rows
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.sources.unfit import unfit


def read_jsonl(path: Path) -> Recordings:
    """Reads the rows; raises `UserError` for a file whose first row is none of this kind."""
    row = first_row(path)
    if row is None or find_columns(row) is None:
        raise unfit(path, "jsonl", "one object a line with an audio file and a text, such as path and text")
    recordings = Recordings("jsonl", f"JSON lines {path.name}")
    rows = read_json_rows(path, clip_by_columns)
    add_rows(recordings, path, rows, AudioFinder(path.parent), path.parent)
    return recordings
