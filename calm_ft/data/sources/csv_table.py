"""A table with a header, columns between commas, tabs or semicolons: `path,text` and perhaps `speaker`.

The usual names of these columns are known (columns.py); `start` with `duration` or `end` makes segments of long files.
"""

from pathlib import Path

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.listing import add_rows
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.sources.table import Header, find_header, read_table
from calm_ft.data.sources.unfit import unfit

DELIMITERS = (",", "\t", ";")


def recognise_csv(path: Path) -> Header | None:
    """The header, if this is such a table."""
    return find_header(path, DELIMITERS)


def read_csv(path: Path) -> Recordings:
    """Reads the rows; raises `UserError` for a file without such a header."""
    header = recognise_csv(path)
    if header is None:
        raise unfit(
            path, "csv", "a header that names columns of audio and text, such as path,text or file,speaker,text"
        )
    kind = "TSV" if header.delimiter == "\t" else "CSV"
    recordings = Recordings("csv", f"{kind} {path.name}")
    finder = AudioFinder(path.parent)
    add_rows(recordings, path, read_table(path, header, finder), finder, path.parent)
    return recordings
