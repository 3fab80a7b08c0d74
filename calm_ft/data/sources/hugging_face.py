"""Hugging Face data sets on a disk: saved by `save_to_disk` (Arrow), or as parquet.

The audio of such a set lies inside its tables. Each clip is written once to a cache (clip_cache.py), so that everything
else can work with files.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calm_ft.data.sources.clip_cache import keep_clip
from calm_ft.data.sources.column_tables import SUFFIXES, ColumnTable, Row, open_table, unreadable
from calm_ft.data.sources.finding_audio import AudioFinder, visible_files
from calm_ft.data.sources.recordings import (
    AUDIO_COLUMNS,
    Columns,
    RecordingFormat,
    Recordings,
    find_columns,
    language_code,
)
from calm_ft.data.sources.text_lines import checked_text
from calm_ft.data.utterance import UnusableClip, Utterance, printable
from calm_ft.errors import UserError


@dataclass(frozen=True)
class StoredRow:
    """One row as the table gives it, its sound in a file; `fault` says why there is none."""

    audio: str
    text: str
    speaker: str
    language: str
    fault: str = ""


class HuggingFaceTables(RecordingFormat):
    """Tables with a column of audio (its bytes or its path) and one of texts, perhaps of speakers and languages.

    Source: huggingface.co/docs/datasets, `Audio`: a struct of `bytes` and `path`.
    """

    name = "hf_dataset"
    expected = "parquet or arrow files with a column of audio and one of texts"

    def recognises(self, path: Path) -> bool:
        """By the suffix: no other format has it."""
        return path.suffix.lower() in SUFFIXES and path.is_file()

    def recognises_folder(self, folder: Path) -> bool:
        return bool(self._tables(folder))

    def read(self, path: Path) -> Recordings:
        """Reads one table, or all below a folder.

        Raises:
            UserError: there is no table, it has no such columns or cannot be read, or pyarrow is not installed.
        """
        root = path if path.is_dir() else path.parent
        tables = self._tables(path) if path.is_dir() else [path]
        if not tables:
            raise UserError(f"{path} is not in the format {self.name}: expected {self.expected}, found none.")
        recordings = Recordings(self.name, printable(f"Hugging Face data set {root.name}"))
        find = AudioFinder(root).find
        for table in tables:
            try:
                rows = _rows(open_table(table, str(table)), find)
            except OSError as error:
                raise unreadable(str(table), error) from None
            add_rows(recordings, table.relative_to(root).as_posix(), rows, str(table))
        return recordings

    def _tables(self, folder: Path) -> list[Path]:
        return [path for path in visible_files(folder) if is_table(path.name) and self.recognises(path)]


def is_table(name: str) -> bool:
    """Whether a file of this name is one of a set's tables: `cache-*.arrow` is what `map` made of the set."""
    return name.lower().endswith(SUFFIXES) and not name.rpartition("/")[2].startswith("cache-")


def columns_of(table: ColumnTable) -> Columns:
    """The columns that are read; a struct with bytes is the audio, whatever its name.

    Raises:
        UserError: there is no audio or no text.
    """
    sounds = table.sounds
    names = [name for name in table.names if name.lower() not in AUDIO_COLUMNS or not sounds]
    found = find_columns([*names, "audio"] if sounds else names)
    if found is None:
        raise UserError(
            f"{table.name} has the columns {', '.join(table.names)}; a data set needs one of audio and one of texts "
            "(text, transcription or sentence)."
        )
    return replace(found, audio=sounds[0]) if sounds else found


def kept_row(row: Row, columns: Columns, find: Callable[[str], Path]) -> StoredRow:
    """The row with its sound in a file: of the cache if the table holds the bytes, else the one that `find` gives."""
    speaker = row.get(columns.speaker) if columns.speaker else None
    text, language = str(row[columns.text] or ""), language_code(row.get(columns.language)) if columns.language else ""
    named = "" if speaker is None else " ".join(printable(str(speaker)).split())
    try:
        return StoredRow(str(_audio_file(row[columns.audio], find)), text, named, language)
    except UnusableClip as fault:
        return StoredRow("", text, named, language, str(fault))


def add_rows(recordings: Recordings, name: str, rows: list[StoredRow], place: str) -> None:
    """Adds the rows of the table `name` (relative to its set); `place` is the table, as exclusions name it."""
    stem = printable(Path(name).with_suffix("").as_posix())
    for number, row in enumerate(rows, start=1):
        try:
            _add_row(recordings, f"{stem}/{number:06d}", row, f"{place}:{number}")
        except UnusableClip as fault:
            recordings.exclude(f"{place}:{number}", str(fault))


def _rows(table: ColumnTable, find: Callable[[str], Path]) -> list[StoredRow]:
    columns = columns_of(table)
    return [kept_row(row, columns, find) for batch in table.batches(columns.names) for row in batch]


def _add_row(recordings: Recordings, id: str, row: StoredRow, place: str) -> None:
    if row.fault:
        raise UnusableClip(row.fault)
    if not row.text.strip():
        recordings.add_textless(id, Path(row.audio), place, "the text is empty", row.speaker, row.language)
        return
    text = checked_text(row.text)
    recordings.add(Utterance(id, Path(row.audio), text, row.speaker, language=row.language), place)


def _audio_file(value: Any, find: Callable[[str], Path]) -> Path:
    content = value.get("bytes") if isinstance(value, dict) else None
    name = str((value.get("path") if isinstance(value, dict) else value) or "")
    return keep_clip(content, name) if content else find(name)
