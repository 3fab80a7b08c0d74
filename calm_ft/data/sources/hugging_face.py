"""Hugging Face data sets: saved by `save_to_disk` (Arrow), as parquet, or by name from the hub.

The audio of such a set lies inside its tables. Each clip is written once to a cache (`~/.cache/calm_ft/recordings`),
under the hash of its bytes, so that everything else can work with files. Tables are read in batches; no more than one
is in memory.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import atomic_path
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

SUFFIXES = (".parquet", ".arrow")
HUB_PREFIXES = ("hf://datasets/", "hf:/datasets/", "datasets:")
NUM_ROWS_IN_MEMORY = 64
# What the first bytes of a clip tell of its format; the reader goes by the content, people by the name.
SIGNATURES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}

Row = dict[str, Any]


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
        finder = AudioFinder(root)
        for table in tables:
            name = table.relative_to(root).with_suffix("").as_posix()
            for number, row in enumerate(_rows(table), start=1):
                try:
                    _add_row(recordings, f"{name}/{number:06d}", row, _columns(table, row), f"{table}:{number}", finder)
                except UnusableClip as fault:
                    recordings.exclude(f"{table}:{number}", str(fault))
        return recordings

    def _tables(self, folder: Path) -> list[Path]:
        # `cache-*.arrow` holds what `map` made of the set, not the set.
        return [path for path in visible_files(folder) if self.recognises(path) and not path.name.startswith("cache-")]


def is_on_hub(path: Path) -> bool:
    """Whether the path names a data set on the hub, such as hf://datasets/OWNER/NAME or datasets:OWNER/NAME."""
    return str(path).startswith(HUB_PREFIXES)


def fetch_from_hub(path: Path) -> Path:
    """The folder of a data set of the hub, from its cache or downloaded now.

    Raises:
        UserError: the hub cannot be reached, or has no such set.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    prefix = next(prefix for prefix in HUB_PREFIXES if str(path).startswith(prefix))
    name = str(path).removeprefix(prefix).strip("/")
    try:
        return Path(snapshot_download(name, repo_type="dataset"))
    except LocalEntryNotFoundError:
        raise UserError(
            f"The data set {name} is not in the hub's cache and the hub cannot be reached; download it elsewhere "
            f"(hf download {name} --repo-type dataset --local-dir FOLDER) and give the folder."
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"The data set {name} cannot be fetched from the hub: {reason}") from None


def _rows(table: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{table} needs pyarrow, which is not installed; install the extra `preparation`.") from None
    try:
        if table.suffix.lower() == ".parquet":
            with pyarrow.parquet.ParquetFile(table) as file:
                for batch in file.iter_batches(NUM_ROWS_IN_MEMORY):
                    yield from batch.to_pylist()
            return
        with pyarrow.memory_map(str(table)) as source:
            for batch in _arrow_batches(pyarrow, source):
                for first in range(0, batch.num_rows, NUM_ROWS_IN_MEMORY):
                    yield from batch.slice(first, NUM_ROWS_IN_MEMORY).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{table} cannot be read: {str(error).splitlines()[0]}.") from None


def _arrow_batches(pyarrow: Any, source: Any) -> Iterator[Any]:
    """`save_to_disk` writes streams; other writers of Arrow write files with an index at their end."""
    try:
        yield from pyarrow.ipc.open_stream(source)
    except pyarrow.ArrowInvalid:
        source.seek(0)
        file = pyarrow.ipc.open_file(source)
        yield from (file.get_batch(number) for number in range(file.num_record_batches))


def _columns(table: Path, row: Row) -> Columns:
    """The columns that are read; a struct with bytes is the audio, whatever its name."""
    structs = [name for name, value in row.items() if isinstance(value, dict) and {"bytes", "path"} <= value.keys()]
    names = [name for name in row if name.lower() not in AUDIO_COLUMNS or not structs]
    found = find_columns([*names, "audio"] if structs else names)
    if found is None:
        raise UserError(
            f"{table} has the columns {', '.join(row)}; a data set needs one of audio and one of texts (text, "
            "transcription or sentence)."
        )
    return replace(found, audio=structs[0]) if structs else found


def _add_row(recordings: Recordings, id: str, row: Row, columns: Columns, place: str, finder: AudioFinder) -> None:
    audio_path = _audio_file(row[columns.audio], finder)
    speaker = row.get(columns.speaker) if columns.speaker else None
    named = "" if speaker is None else " ".join(printable(str(speaker)).split())
    text = str(row[columns.text] or "")
    if not text.strip():
        recordings.add_textless(id, audio_path, place, "the text is empty", named)
        return
    language = language_code(row.get(columns.language)) if columns.language else ""
    recordings.add(Utterance(id, audio_path, checked_text(text), named, language=language), place)


def _audio_file(value: Any, finder: AudioFinder) -> Path:
    """The file of a clip; written to the cache if the table holds its bytes."""
    content = value.get("bytes") if isinstance(value, dict) else None
    name = str((value.get("path") if isinstance(value, dict) else value) or "")
    if not content:
        return finder.find(name)
    suffix = next((kind for start, kind in SIGNATURES.items() if content.startswith(start)), Path(name).suffix.lower())
    digest = hashlib.sha256(content).hexdigest()
    path = _cache() / digest[:2] / f"{digest[2:34]}{suffix or '.wav'}"
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    return path


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "calm_ft" / "recordings"
