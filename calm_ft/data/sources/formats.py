"""The formats by the names that `data.format=` takes: how each is read, and which one a file is in by its content."""

from collections.abc import Callable
from pathlib import Path

from calm_ft.data.sources import pipe_rows
from calm_ft.data.sources.audio_text_pairs import read_audio_text_pairs
from calm_ft.data.sources.audiofolder import is_audiofolder_metadata, read_audiofolder
from calm_ft.data.sources.columns import find_columns
from calm_ft.data.sources.csv_table import read_csv, recognise_csv
from calm_ft.data.sources.json_rows import first_row
from calm_ft.data.sources.jsonl import read_jsonl
from calm_ft.data.sources.ljspeech import read_ljspeech
from calm_ft.data.sources.manifest import is_manifest, read_manifest
from calm_ft.data.sources.official_manifest import is_official, read_official_manifest
from calm_ft.data.sources.pipe_csv import read_pipe_csv
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.sources.table import find_header

READERS: dict[str, Callable[[Path], Recordings]] = {
    "pairs": read_audio_text_pairs,
    "ljspeech": read_ljspeech,
    "pipe_csv": read_pipe_csv,
    "audiofolder": read_audiofolder,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "manifest": read_manifest,
    "official_manifest": read_official_manifest,
}
JSON_FORMATS = ("manifest", "official_manifest", "jsonl")
TABLE_FORMATS = ("ljspeech", "pipe_csv", "csv")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list")


def format_of(path: Path) -> str | None:
    """The format of a file by its content; None where it is none of ours or could be more than one."""
    return _json_format(path) if path.suffix.lower() in JSON_SUFFIXES else _table_format(path)


def _json_format(path: Path) -> str | None:
    row = first_row(path)
    if row is None:
        return None
    if is_audiofolder_metadata(path):
        return "audiofolder"
    if is_official(row):
        return "official_manifest"
    if is_manifest(row):
        return "manifest"
    return None if find_columns(row) is None else "jsonl"


def _table_format(path: Path) -> str | None:
    if is_audiofolder_metadata(path):
        return "audiofolder"
    if recognise_csv(path) is not None:
        return "csv"
    if find_header(path, ("|",)) is not None:
        return "pipe_csv"
    rows = [row.cells for row in pipe_rows.pipe_rows(path) if len(row.cells) in (2, 3)]
    layout = pipe_rows.layout(rows) if rows else None
    if layout == pipe_rows.ID_TEXT:
        return "pipe_csv" if pipe_rows.names_paths(rows) else "ljspeech"
    return {None: None, pipe_rows.ID_TEXT_NORMALIZED: "ljspeech"}.get(layout, "pipe_csv")
