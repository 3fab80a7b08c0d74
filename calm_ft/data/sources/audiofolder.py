"""HF `audiofolder`: a metadata.csv or metadata.jsonl with `file_name` beside the audio, also one in each split.

The text is in `transcription`, or in a column of another usual name. File names are relative to the metadata that
gives them. All splits are read: which clips validate is decided here.
"""

from pathlib import Path

from calm_ft.data.sources.audio_finder import AudioFinder
from calm_ft.data.sources.columns import find_columns
from calm_ft.data.sources.json_rows import clip_by_columns, first_row, read_json_rows
from calm_ft.data.sources.listing import add_rows
from calm_ft.data.sources.recordings import Recordings, visible_files
from calm_ft.data.sources.table import find_header, read_table
from calm_ft.data.sources.unfit import unfit
from calm_ft.errors import UserError

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
EXPECTED = "a metadata.csv or metadata.jsonl with file_name and transcription"


def is_audiofolder_metadata(path: Path) -> bool:
    """Whether the file has the `file_name` that makes an audiofolder, and a text."""
    if path.suffix.lower() == ".jsonl":
        row = first_row(path)
        return row is not None and "file_name" in row and find_columns(row) is not None
    header = find_header(path, (",",))
    return header is not None and "file_name" in [name.strip() for name in header.names]


def metadata_files(folder: Path) -> list[Path]:
    """All audiofolder metadata in a folder and below it."""
    return [path for path in visible_files(folder) if path.name in METADATA_NAMES and is_audiofolder_metadata(path)]


def read_audiofolder(path: Path) -> Recordings:
    """Reads all metadata in a folder, or one file of it; raises `UserError` where there is none."""
    root, files = (path, metadata_files(path)) if path.is_dir() else (path.parent, [path])
    if not files:
        raise UserError(f"{path} is not in the format audiofolder: expected {EXPECTED}, found none in it.")
    places = ", ".join(each.relative_to(root).as_posix() for each in files[:3]) + (", ..." if len(files) > 3 else "")
    recordings = Recordings("audiofolder", f"HF audiofolder {places}")
    for file in files:
        _add_metadata(recordings, file, root)
    return recordings


def _add_metadata(recordings: Recordings, path: Path, root: Path) -> None:
    finder = AudioFinder(path.parent)
    if not is_audiofolder_metadata(path):
        raise unfit(path, "audiofolder", EXPECTED)
    if path.suffix.lower() == ".jsonl":
        rows = read_json_rows(path, clip_by_columns)
    else:
        header = find_header(path, (",",))
        assert header is not None
        rows = read_table(path, header, finder)
    add_rows(recordings, path, rows, finder, root)
