"""Hugging Face's `audiofolder`: tables named metadata.csv or metadata.jsonl beside the audio, one for each split."""

from collections.abc import Sequence
from pathlib import Path

from calm_ft.data.sources.finding_audio import AudioFinder, visible_files
from calm_ft.data.sources.json_lists import JsonList, first_row
from calm_ft.data.sources.recordings import (
    JSON_SUFFIXES,
    ListFormat,
    RecordingFormat,
    Recordings,
    find_columns,
    not_in_format,
    note_unlisted,
)
from calm_ft.data.sources.tables import CsvTable, find_header
from calm_ft.data.utterance import printable
from calm_ft.errors import UserError

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
NUM_FILES_NAMED = 3


class Audiofolder(RecordingFormat):
    """Hugging Face's `audiofolder`: a metadata.csv or metadata.jsonl with `file_name` beside the audio.

    Each split may have its own metadata; all of them are read, because the validation clips are chosen later. File
    names are relative to the metadata that gives them. The text is in `transcription` or another usual column.
    """

    name = "audiofolder"
    expected = "a metadata.csv or metadata.jsonl with file_name and transcription"

    def recognises(self, path: Path) -> bool:
        """Whether the file has a column `file_name` and a text."""
        if path.suffix.lower() == ".jsonl":
            row = first_row(path)
            return row is not None and "file_name" in row and find_columns(row) is not None
        if path.suffix.lower() in JSON_SUFFIXES:
            return False
        header = find_header(path, (",",))
        return header is not None and "file_name" in [name.strip() for name in header.names]

    def metadata_files(self, folder: Path) -> list[Path]:
        """All metadata files in a folder and its subfolders."""
        return [path for path in visible_files(folder) if path.name in METADATA_NAMES and self.recognises(path)]

    def read(self, path: Path) -> Recordings:
        """Reads all metadata in a folder, or one metadata file."""
        root, files = (path, self.metadata_files(path)) if path.is_dir() else (path.parent, [path])
        if not files:
            raise UserError(f"{path} is not in the format {self.name}: expected {self.expected}, found none in it.")
        names = [file.relative_to(root).as_posix() for file in files]
        recordings = Recordings(self.name, printable(f"HF audiofolder {_some_of(names)}"))
        found: set[Path] = set()
        unlisted: set[Path] = set()
        for file in files:
            if not self.recognises(file):
                raise not_in_format(file, self.name, self.expected)
            metadata: ListFormat = JsonList() if file.suffix.lower() == ".jsonl" else CsvTable()
            finder = AudioFinder(file.parent)
            found |= metadata.add_rows(recordings, file, root, finder)
            unlisted |= set(finder.unlisted(found))
        note_unlisted(recordings, sorted(unlisted - found))
        return recordings


def _some_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_FILES_NAMED} more" if len(names) > NUM_FILES_NAMED else ""
    return ", ".join(names[:NUM_FILES_NAMED]) + more
