"""Formats that read a whole folder: audio with a text file beside each clip, and Hugging Face's `audiofolder`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from calm_ft.data.sources.finding_audio import (
    AUDIO_SUFFIXES,
    clip_id,
    conversion_command,
    is_audio,
    is_unreadable_audio,
    visible_files,
)
from calm_ft.data.sources.json_lists import JsonList, first_row
from calm_ft.data.sources.recordings import (
    JSON_SUFFIXES,
    ListFormat,
    RecordingFormat,
    Recordings,
    checked_text,
    decode_line,
    find_columns,
    not_in_format,
)
from calm_ft.data.sources.tables import CsvTable, find_header
from calm_ft.data.utterance import UnusableClip, Utterance, printable
from calm_ft.errors import UserError

LISTING_SUFFIXES = (".csv", ".tsv", ".jsonl")
METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
NUM_FILES_NAMED = 3


class Pairs(RecordingFormat):
    """`clip.wav` beside `clip.txt`, in any subfolder; the text file holds what the recording says."""

    name = "pairs"

    def recognises(self, path: Path) -> bool:
        """Never: a single file is not enough for a pair."""
        return False

    def read(self, path: Path) -> Recordings:
        """Reads all audio with a `.txt` of the same name.

        Raises:
            UserError: the folder is empty, or has no readable audio or no text.
        """
        files = visible_files(path)
        audio_paths = [file for file in files if is_audio(file)]
        unreadable = {clip_id(file, path): file for file in files if is_unreadable_audio(file)}
        texts = {clip_id(file, path): file for file in files if file.suffix.lower() == ".txt"}
        _check_both_kinds(path, files, audio_paths, [*unreadable.values()], texts)

        recordings = Recordings(self.name, "audio-text pairs")
        for audio_path in audio_paths:
            _add_pair(recordings, clip_id(audio_path, path), audio_path, texts)
        readable_ids = {clip_id(file, path) for file in audio_paths}
        for file in (file for id, file in unreadable.items() if id not in readable_ids):
            recordings.exclude(file, f"{file.suffix} audio cannot be read; convert it: {conversion_command([file])}")
        audio_ids = readable_ids | unreadable.keys()
        for file in (file for id, file in texts.items() if id not in audio_ids):
            recordings.exclude(file, "there is no audio file of this name beside the text")
        return recordings


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
        for file in files:
            if not self.recognises(file):
                raise not_in_format(file, self.name, self.expected)
            metadata: ListFormat = JsonList() if file.suffix.lower() == ".jsonl" else CsvTable()
            metadata.add_rows(recordings, file, root)
        return recordings


def _add_pair(recordings: Recordings, id: str, audio_path: Path, texts: Mapping[str, Path]) -> None:
    if id not in texts:
        recordings.exclude(audio_path, "there is no .txt file of this name beside the audio")
        return
    try:
        text = checked_text(decode_line(texts[id].read_bytes()))
    except UnusableClip as fault:
        recordings.exclude(audio_path, str(fault))
        return
    recordings.add(Utterance(id, audio_path, text, speaker=""), str(audio_path))


def _check_both_kinds(
    folder: Path, files: list[Path], audio: list[Path], unreadable: list[Path], texts: Mapping[str, Path]
) -> None:
    if not files:
        raise UserError(f"The folder {folder} is empty; put recordings there, clip.wav beside clip.txt.")
    if not audio and unreadable:
        names = _some_of([path.relative_to(folder).as_posix() for path in unreadable])
        raise UserError(
            f"The folder {folder} holds no audio that can be read, only {names}; convert it to wav: "
            f"{conversion_command(unreadable)}"
        )
    if not audio:
        kinds = ", ".join(suffix.removeprefix(".") for suffix in AUDIO_SUFFIXES)
        raise UserError(f"The folder {folder} holds no audio; recordings must be {kinds} files.")
    if not texts:
        listings = [path for path in files if path.suffix.lower() in LISTING_SUFFIXES]
        way_out = (
            f"point at {listings[0].parent} instead, where {listings[0].name} lies"
            if listings
            else "put what is said in each clip.wav into a clip.txt beside it, or all into a metadata.csv"
        )
        raise UserError(f"The folder {folder} holds {len(audio)} audio files but no text; {way_out}.")


def _some_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_FILES_NAMED} more" if len(names) > NUM_FILES_NAMED else ""
    return ", ".join(names[:NUM_FILES_NAMED]) + more
