"""The list of formats, and which file of a folder lists the clips in which of them.

In a folder, the usual names come first: manifest.jsonl, then metadata.jsonl or metadata.csv, in the folder itself or
in its splits; then corpora that are known by the names of their files; then audio-text pairs; then the only other file
that lists audio, or those of several that are named as parts of one set (train, val, test).
"""

import re
from pathlib import Path

from calm_ft.data.sources.audiofolder import METADATA_NAMES, Audiofolder
from calm_ft.data.sources.finding_audio import is_audio, visible_files
from calm_ft.data.sources.hub.sets import is_on_hub
from calm_ft.data.sources.hub.tables import read_from_hub
from calm_ft.data.sources.hugging_face import HuggingFaceTables
from calm_ft.data.sources.json_lists import JsonList
from calm_ft.data.sources.kaldi import Kaldi, LibriSpeech
from calm_ft.data.sources.manifests import Manifest, OfficialManifest
from calm_ft.data.sources.pairs import Pairs
from calm_ft.data.sources.plain_tables import LJSpeech, PipeTable, TabTable
from calm_ft.data.sources.recordings import JSON_SUFFIXES, TABLE_SUFFIXES, ListFormat, RecordingFormat, Recordings
from calm_ft.data.sources.speakers import assign_speakers, check_mode
from calm_ft.data.sources.tables import CsvTable
from calm_ft.data.sources.text_lines import beginning
from calm_ft.data.utterance import commonest_reason
from calm_ft.errors import UserError

AUDIOFOLDER = Audiofolder()
# By the names that data.format takes. The first one that recognises a file reads it, so narrow formats stand before
# wider ones: an audiofolder's metadata.csv is also a CSV table, and a manifest also a list of JSON objects.
FORMATS: dict[str, RecordingFormat] = {
    each.name: each
    for each in (
        *(Pairs(), LibriSpeech(), Kaldi(), LJSpeech(), PipeTable(), AUDIOFOLDER, CsvTable(), TabTable()),
        *(OfficialManifest(), Manifest(), JsonList(), HuggingFaceTables()),
    )
}
USUAL_NAMES = ("manifest.jsonl", *METADATA_NAMES)
# Words in the names of lists that are parts of one set.
PARTS = frozenset(
    ("train", "training", "trn", "eval", "evaluation", "val", "valid", "validation", "dev", "test", "tst")
)
CHOOSE_FORMAT = f"choose one with data.format= ({', '.join(FORMATS)})"


def read_recordings(
    path: Path | str, format: str | None = None, speakers: str | None = None, require_text: bool = True
) -> Recordings:
    """Reads a folder of recordings, or the table or manifest that lists them, or a data set of the Hugging Face hub.

    Args:
        path: a folder, a file, or hf://datasets/OWNER/NAME and perhaps a part of it (hub/sets.py).
        format: a name in `FORMATS`, or None to recognise the format by content.
        speakers: column, folder or one; auto or None to choose (speakers.py).
        require_text: whether audio without a text is of no use. If it is (for it will be transcribed), such audio is
            in `textless` alone and not among the exclusions, and `path` may be one audio file.

    Faults of single clips become exclusions.

    Raises:
        UserError: no usable clip, no known format or more than one that fits, or a file that is not in the format
            that was asked for.
    """
    path = Path(path)
    check_mode(speakers)
    if format is not None and format not in FORMATS:
        raise UserError(
            f"data.format={format} is unknown; it is one of {', '.join(FORMATS)}, or null to recognise the format."
        )
    on_hub = read_from_hub(path) if is_on_hub(path) else path
    recordings = on_hub if isinstance(on_hub, Recordings) else _read_on_disk(on_hub, format, require_text)
    if format not in (None, recordings.format):
        raise UserError(f"{path} holds tables, which data.format={format} does not read; leave data.format away.")
    if not require_text:
        recordings.allow_textless()
    _check_any_left(recordings, path, require_text)
    assign_speakers(recordings, speakers)
    return recordings


def recognise(path: Path) -> RecordingFormat | None:
    """The format of a file by its content; None if it is in no known format, or could be in more than one."""
    return next((each for each in FORMATS.values() if each.recognises(path)), None)


def _read_on_disk(path: Path, format: str | None, require_text: bool) -> Recordings:
    if not path.exists():
        raise UserError(f"There is no folder {path}; give the folder that holds the recordings.")
    listing: Path | list[Path]
    if not path.is_dir():
        is_recording = is_audio(path) and not require_text and format in (None, Pairs.name)
        listing, reader = path, FORMATS[Pairs.name] if is_recording else _format_for_file(path, format)
    elif format is None:
        listing, reader = _recognise_in_folder(path)
    else:
        reader = FORMATS[format]
        listing = _listing_in_folder(path, reader)
    return _read(reader, listing)


def _read(reader: RecordingFormat, listing: Path | list[Path]) -> Recordings:
    if isinstance(listing, Path):
        return reader.read(listing)
    assert isinstance(reader, ListFormat)
    recordings = reader.read_lists(listing)
    names = ", ".join(path.name for path in listing)
    recordings.notes.append(f"{names} are read together; validation clips are chosen by data.validation_fraction")
    return recordings


def _check_any_left(recordings: Recordings, path: Path, require_text: bool) -> None:
    if recordings.utterances or (recordings.textless and not require_text):
        return
    if recordings.text_fault:
        raise UserError(recordings.text_fault)
    if not recordings.exclusions:
        raise UserError(f"{path} lists no clip: {recordings.format_name}; add one row for each clip.")
    raise UserError(
        f"No clip in {path} can be used: {len(recordings.exclusions)} left out, "
        f"most often because {commonest_reason(recordings.exclusions)}."
    )


def _format_for_file(path: Path, format: str | None) -> RecordingFormat:
    if is_audio(path) or format == Pairs.name:
        raise UserError(f"{path} is a file; give the folder that holds the recordings, or the table that lists them.")
    reader = recognise(path) if format is None else FORMATS[format]
    if reader is None:
        raise UserError(
            f"{path} is in no format that can be told, found {beginning(path)}: "
            f"give it a header such as path,text or {CHOOSE_FORMAT}."
        )
    return reader


def _recognise_in_folder(folder: Path) -> tuple[Path | list[Path], RecordingFormat]:
    """What to read, and in which format."""
    transcripts = _transcripts(folder)
    listings = [path for path in _listings(folder, (*JSON_SUFFIXES, *TABLE_SUFFIXES)) if path not in transcripts]
    named = [path for path in listings if path.name in USUAL_NAMES]
    if named and named[0].name != "manifest.jsonl" and len(named) > 1:
        raise _several_listings(folder, named)
    if named:
        return named[0], _format_for_file(named[0], None)
    if AUDIOFOLDER.metadata_files(folder):
        return folder, AUDIOFOLDER
    corpus = next((each for each in FORMATS.values() if each.recognises_folder(folder)), None)
    return (folder, corpus) if corpus is not None else _recognise_listings(folder, listings, transcripts)


def _recognise_listings(
    folder: Path, listings: list[Path], transcripts: set[Path]
) -> tuple[Path | list[Path], RecordingFormat]:
    others = [(path, reader) for path in listings if (reader := recognise(path)) is not None]
    with_clips = [(path, reader) for path, reader in others if reader.read(path).utterances]
    if not with_clips and (transcripts or not others):
        return folder, FORMATS[Pairs.name]
    others = with_clips or others
    paths, readers = [path for path, _ in others], {reader.name for _, reader in others}
    if len(others) > 1 and not transcripts and len(readers) == 1 and all(map(_is_part, paths)):
        return paths, others[0][1]
    if len(others) > 1 or transcripts:
        raise _several_listings(folder, [*paths, *sorted(transcripts)])
    return others[0]


def _is_part(path: Path) -> bool:
    """Whether the name says that the list is one of several parts."""
    return not PARTS.isdisjoint(re.split(r"[^a-z]+", path.stem.lower()))


def _listing_in_folder(folder: Path, reader: RecordingFormat) -> Path | list[Path]:
    """What a given format reads in a folder: its one file of a fitting suffix, or the folder itself."""
    if not reader.suffixes:
        return folder
    transcripts = _transcripts(folder)
    listings = [path for path in _listings(folder, reader.suffixes) if path not in transcripts]
    fitting = [path for path in listings if recognise(path) is reader]
    if len(fitting) > 1 and isinstance(reader, ListFormat) and all(map(_is_part, fitting)):
        return fitting
    chosen = fitting or listings
    if not chosen:
        suffixes = " or ".join(reader.suffixes)
        raise UserError(f"The folder {folder} holds no {suffixes} file to read as {reader.name}; add it.")
    if len(chosen) > 1 and chosen[0].name not in USUAL_NAMES:
        raise _several_listings(folder, chosen)
    return chosen[0]


def _listings(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with these suffixes in the folder itself, the usual names first."""
    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    fitting = sorted(path for path in found if path.suffix.lower() in suffixes)
    return sorted(
        fitting, key=lambda path: USUAL_NAMES.index(path.name) if path.name in USUAL_NAMES else len(USUAL_NAMES)
    )


def _transcripts(folder: Path) -> set[Path]:
    """The `.txt` files in the folder and its subfolders that lie beside audio of the same name."""
    files = visible_files(folder)
    spoken = {path.with_suffix("") for path in files if is_audio(path)}
    return {path for path in files if path.suffix.lower() == ".txt" and path.with_suffix("") in spoken}


def _several_listings(folder: Path, found: list[Path]) -> UserError:
    names = ", ".join(path.name for path in found[:5])
    return UserError(
        f"{folder} can be read in more than one way, by {names}: give the one file as data.path, or {CHOOSE_FORMAT}."
    )
