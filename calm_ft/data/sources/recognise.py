"""Which file of a folder lists the clips, and in which format: said by content, forced by name.

Of a folder, what the usual names hold comes first: manifest.jsonl, then metadata.jsonl or metadata.csv, of the folder
or of the splits in it. Then audio-text pairs; then whichever single other file lists audio.
"""

from pathlib import Path

from calm_ft.data.sources.audiofolder import METADATA_NAMES, metadata_files
from calm_ft.data.sources.formats import (
    JSON_FORMATS,
    JSON_SUFFIXES,
    READERS,
    TABLE_FORMATS,
    TABLE_SUFFIXES,
    format_of,
)
from calm_ft.data.sources.recordings import Recordings, is_audio, visible_files
from calm_ft.data.sources.speakers import assign_speakers, check_mode
from calm_ft.data.sources.unfit import beginning
from calm_ft.data.utterance import commonest_reason
from calm_ft.errors import UserError

FORMAT_NAMES = tuple(READERS)
FORCE = f"choose one with data.format= ({', '.join(FORMAT_NAMES)})"


def read_recordings(path: Path, format: str | None = None, speakers: str = "auto") -> Recordings:
    """Reads a folder of recordings, or the table or manifest that lists them.

    Args:
        format: one of FORMAT_NAMES; None recognises it.
        speakers: auto, column, folder or one (speakers.py).

    Faults of single clips become exclusions. Raises `UserError` where nothing is left, for a file or folder in no
    format or in several, and for one that is not in the format that is forced.
    """
    path = Path(path)
    check_mode(speakers)
    if format is not None and format not in FORMAT_NAMES:
        raise UserError(f"data.format={format} is unknown; it is one of {', '.join(FORMAT_NAMES)}.")
    if not path.exists():
        raise UserError(f"There is no folder {path}; give the folder that holds the recordings.")
    if path.is_dir():
        listing, name = _in_folder(path) if format is None else (_listing_for(path, format), format)
    else:
        listing, name = path, _of_file(path, format)
    recordings = READERS[name](listing)
    _check_any_left(recordings, path)
    assign_speakers(recordings, speakers)
    return recordings


def _check_any_left(recordings: Recordings, path: Path) -> None:
    if recordings.utterances:
        return
    if not recordings.exclusions:
        raise UserError(f"{path} lists no clip: {recordings.format_name}; add one row for each clip.")
    raise UserError(
        f"No clip in {path} can be used: {len(recordings.exclusions)} left out, "
        f"most often because {commonest_reason(recordings.exclusions)}."
    )


def _of_file(path: Path, format: str | None) -> str:
    if is_audio(path) or format == "pairs":
        raise UserError(f"{path} is a file; give the folder that holds the recordings, or the table that lists them.")
    name = format or format_of(path)
    if name is None:
        raise UserError(
            f"{path} is in no format that can be told, found {beginning(path)}: "
            f"give it a header such as path,text or {FORCE}."
        )
    return name


def _in_folder(folder: Path) -> tuple[Path, str]:
    """What to read and in which format."""
    transcripts = _transcripts(folder)
    found = _listings(folder, (*JSON_SUFFIXES, *TABLE_SUFFIXES))
    listings = [path for path in found if path not in transcripts]
    named = [path for path in listings if path.name in ("manifest.jsonl", *METADATA_NAMES)]
    if named and named[0].name != "manifest.jsonl" and len(named) > 1:
        raise _several(folder, named)
    if named:
        return named[0], _of_file(named[0], None)
    if metadata_files(folder):
        return folder, "audiofolder"
    others = [(path, name) for path in listings if (name := format_of(path)) is not None]
    others = [(path, name) for path, name in others if READERS[name](path).utterances] or (
        [] if transcripts else others
    )
    if not others:
        return folder, "pairs"
    if len(others) > 1 or transcripts:
        raise _several(folder, [*(path for path, _ in others), *sorted(transcripts)])
    return others[0]


def _listing_for(folder: Path, format: str) -> Path:
    """What a reader of this format reads in a folder: itself, or its one file of a fitting suffix."""
    if format in ("pairs", "audiofolder"):
        return folder
    suffixes = JSON_SUFFIXES if format in JSON_FORMATS else TABLE_SUFFIXES
    assert format in (*JSON_FORMATS, *TABLE_FORMATS)
    transcripts = _transcripts(folder)
    listings = [path for path in _listings(folder, suffixes) if path not in transcripts]
    fitting = [path for path in listings if format_of(path) == format]
    chosen = fitting or listings
    if not chosen:
        raise UserError(f"The folder {folder} holds no {' or '.join(suffixes)} file to read as {format}; add it.")
    if len(chosen) > 1 and chosen[0].name not in ("manifest.jsonl", *METADATA_NAMES):
        raise _several(folder, chosen)
    return chosen[0]


def _listings(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of these suffixes in the folder itself, the usual names first."""
    usual = ("manifest.jsonl", *METADATA_NAMES)
    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    fitting = sorted(path for path in found if path.suffix.lower() in suffixes)
    return sorted(fitting, key=lambda path: usual.index(path.name) if path.name in usual else len(usual))


def _transcripts(folder: Path) -> set[Path]:
    """The `.txt` files, at any depth, that lie beside audio of the same name."""
    files = visible_files(folder)
    spoken = {path.with_suffix("") for path in files if is_audio(path)}
    return {path for path in files if path.suffix.lower() == ".txt" and path.with_suffix("") in spoken}


def _several(folder: Path, found: list[Path]) -> UserError:
    names = ", ".join(path.name for path in found[:5])
    return UserError(
        f"{folder} can be read in more than one way, by {names}: give the one file as data.path, or {FORCE}."
    )
