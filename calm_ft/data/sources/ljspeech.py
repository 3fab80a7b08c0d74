"""LJSpeech's `metadata.csv`: a row `id|text` or `id|text|normalized text` a clip, no header, no quoting.

The audio of `id` lies in `wavs/` or beside metadata.csv, with or without its suffix in the id. Where there is
a normalized text (figures and abbreviations written out), it is the one that is used, for it is what is
spoken.
"""

import unicodedata
from pathlib import Path

from calm_ft.data.sources.recordings import (
    Recordings,
    UnusableText,
    checked_text,
    clip_id,
    decode_text,
    is_audio,
    numbered_lines,
    visible_files,
)
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError

FORMAT_NAME = "LJSpeech metadata.csv"
TEXT_COLUMN_NAMES = ("text", "transcription", "transcript", "sentence")


def read_ljspeech(metadata_path: Path) -> Recordings:
    """Reads the rows of a metadata.csv.

    Raises `UserError` for a table with a header or with other separators: its columns may mean something
    else, and a speaker's name taken for the normalized text would train on silently.
    """
    folder = metadata_path.parent
    rows = list(numbered_lines(metadata_path))
    _check_is_ljspeech(metadata_path, rows)
    audio = _audio_by_name(folder)
    recordings = Recordings(FORMAT_NAME)
    for number, line in rows:
        place = f"{metadata_path.name} line {number}"
        try:
            name, text = _parse_row(line)
        except UnusableText as fault:
            recordings.exclude(f"{metadata_path}:{number}", f"{place}: {fault}")
            continue
        audio_path = audio.get(f"wavs/{name}") or audio.get(name)
        if audio_path is None:
            recordings.exclude(folder / "wavs" / name, f"{place}: there is no audio file of this name")
        else:
            recordings.add(Utterance(clip_id(audio_path, folder), audio_path, text), listed_at=place)
    return recordings


def _parse_row(line: bytes) -> tuple[str, str]:
    """Name and text of one row; `UnusableText` for a row of another shape."""
    columns = decode_text(line).split("|")
    if len(columns) not in (2, 3) or not columns[0].strip():
        raise UnusableText(f"the row has {len(columns)} columns and should be id|text or id|text|normalized text")
    texts = [column for column in columns[1:] if column.strip()]
    text = checked_text(texts[-1] if texts else "")
    return unicodedata.normalize("NFC", columns[0].strip()), text


def _audio_by_name(folder: Path) -> dict[str, Path]:
    """Audio files by their path from `folder`, with suffix and without.

    Names are compared in Unicode's composed form, since macOS hands out decomposed ones.
    """
    by_name: dict[str, Path] = {}
    for path in filter(is_audio, visible_files(folder)):
        for name in (path.relative_to(folder).as_posix(), clip_id(path, folder)):
            by_name.setdefault(unicodedata.normalize("NFC", name), path)
    return by_name


def _check_is_ljspeech(metadata_path: Path, rows: list[tuple[int, bytes]]) -> None:
    if not rows:
        raise UserError(f"{metadata_path} is empty; it should hold one row id|text for each clip.")
    if not any(b"|" in line for _, line in rows):
        raise UserError(f"{metadata_path} has no row of the form id|text; separate the columns by '|'.")
    header = rows[0][1].decode("utf-8", errors="replace")
    columns = [column.strip().lower() for column in header.split("|")]
    if len(columns) > 1 and columns[1] in TEXT_COLUMN_NAMES:
        raise UserError(
            f"{metadata_path} begins with a header ({header.strip()}), which LJSpeech's format has not; "
            "remove that row and leave the columns id|text or id|text|normalized text."
        )
