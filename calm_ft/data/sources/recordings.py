"""What every format gives (`Recordings`), the interface of a format, and how rows of a list become recordings.

To add a format, write one class and enter it in `FORMATS` (recognising.py). A format in which one file lists the clips
derives from `ListFormat` and turns that file into one `ListedClip` or `FaultyRow` for each row; finding the audio,
checking the text and reporting errors with file and line are done here for all of them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from calm_ft.data.audio import known_duration_sec
from calm_ft.data.sources.encodings import UTF_8, read_text_file
from calm_ft.data.sources.finding_audio import USUAL_FOLDERS, AudioFinder, clip_id
from calm_ft.data.sources.text_lines import beginning, checked_text
from calm_ft.data.utterance import Exclusion, UnusableClip, Utterance, WordTime, printable
from calm_ft.errors import UserError

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list")
TRANSCRIBED_BY = "python scripts/prepare.py can transcribe it"

# The names that datasets give to their columns. If a table has several columns for one purpose, the one that comes
# first here is used: a normalized text before the text, because it is what is spoken.
AUDIO_COLUMNS = (
    *("path", "file_name", "filename", "file", "file_path", "filepath", "audio_file", "audio_filepath", "audio_path"),
    *("audio", "wav", "wav_file", "wav_filename", "wav_path"),
    *("id", "file_id", "utt_id", "utterance_id", "clip_id"),
)
TEXT_COLUMNS = (
    *("normalized_text", "normalised_text", "text_normalized", "normalized_transcription", "normalized"),
    *("text", "transcription", "transcript", "sentence"),
)
SPEAKER_COLUMNS = ("speaker", "speaker_id", "speaker_name", "spk", "spk_id", "client_id", "voice")
LANGUAGE_COLUMNS = ("language", "lang", "language_code", "lang_code", "language_id", "locale")


@dataclass
class Recordings:
    """The clips that were found, in a fixed order, and what was left out.

    Attributes:
        format: the name of the format, as `data.format` takes it.
        source: what was read, for people, such as "LJSpeech metadata.csv".
        utterances: the clips; the speaker is empty if nothing names it, until speakers.py assigns one.
        places: where each clip is listed, by id, such as "table.csv:12".
        textless: audio whose text is missing or empty, with an empty text. Training leaves it out; preparation can
            transcribe it.
        notes: what was decided in reading that a person may want otherwise, one sentence each.
        text_fault: why no clip has a text, with the way out; empty if any has.
    """

    format: str
    source: str
    utterances: list[Utterance] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict, repr=False)
    textless: list[Utterance] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    text_fault: str = ""
    _taken: dict[str, Path] = field(default_factory=dict, repr=False)

    @property
    def format_name(self) -> str:
        """The source and its number of entries, for people: `LJSpeech metadata.csv, 120 rows`."""
        num_entries = len(self.utterances) + len(self.exclusions)
        entry = "clip" if self.format == "pairs" else "row"
        return f"{self.source}, {num_entries} {entry}{'' if num_entries == 1 else 's'}"

    @property
    def without_text(self) -> list[Path]:
        """The audio files whose text is missing or empty."""
        return [utterance.audio_path for utterance in self.textless]

    @property
    def num_speakers(self) -> int:
        """Number of different speakers among the clips."""
        return len({utterance.speaker for utterance in self.utterances})

    def add(self, utterance: Utterance, place: str) -> None:
        """Adds the utterance, or excludes it if its id is already taken."""
        if utterance.id in self._taken:
            self.exclude(place, f"the clip '{utterance.id}' was given before, as {self._taken[utterance.id].name}")
            return
        self._taken[utterance.id] = utterance.audio_path
        self.places[utterance.id] = place
        self.utterances.append(utterance)

    def add_textless(
        self, id: str, audio_path: Path, place: Path | str, reason: str, speaker: str = "", language: str = ""
    ) -> None:
        """Records audio that has no text, and excludes it for this reason until `allow_textless`."""
        if id in self._taken:
            return
        self.textless.append(Utterance(id, audio_path, "", speaker, language=language))
        self.places[id] = str(place)
        duration_sec = known_duration_sec(self.textless[-1])
        self.exclusions.append(Exclusion(str(place), f"{reason}; {TRANSCRIBED_BY}", duration_sec))

    def allow_textless(self) -> None:
        """Takes back the exclusions of audio without a text, because the caller has a use for it."""
        self.exclusions = [each for each in self.exclusions if not each.reason.endswith(TRANSCRIBED_BY)]
        by_id = {each.id: each for each in self.textless if each.id not in self._taken}  # another row may give the text
        self.textless = list(by_id.values())

    def exclude(self, place: Path | str, reason: str) -> None:
        """Records that the file or row at `place` is left out; of a file that is audio, also how long it is."""
        duration_sec = known_duration_sec(Utterance("", place, "")) if isinstance(place, Path) else None
        self.exclusions.append(Exclusion(str(place), reason, duration_sec))


class RecordingFormat(ABC):
    """One way in which recordings lie on a disk.

    Attributes:
        name: what `data.format` takes.
        suffixes: suffixes of the files that list clips in this format; empty if the format reads a whole folder.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether the content of this file is clearly in this format."""

    def recognises_folder(self, folder: Path) -> bool:
        """Whether the names of the files in this folder are those of this format."""
        return False

    @abstractmethod
    def read(self, path: Path) -> Recordings:
        """Reads the clips; faults of single clips become exclusions.

        Raises:
            UserError: the file or folder is not in this format.
        """


@dataclass(frozen=True)
class Segment:
    """A part of an audio file; `end_sec` None means the end of the file."""

    start_sec: float = 0.0
    end_sec: float | None = None


@dataclass(frozen=True)
class ListedClip:
    """One row as written in the list; audio and text are not checked yet, what is not given is empty."""

    line: int
    audio: str
    text: str
    speaker: str = ""
    words: tuple[WordTime, ...] | None = None
    segment: Segment = Segment()
    split: str = ""
    language: str = ""


@dataclass(frozen=True)
class FaultyRow:
    """One row that cannot be read, and why."""

    line: int
    reason: str


class ListFormat(RecordingFormat):
    """A format in which one file lists the clips, one row each.

    Attributes:
        expected: what a file in this format holds, for error messages.
        audio_folders: where names of audio files count from, relative to the list's folder.
        lists_all_audio: whether audio that no row names is worth a note.
    """

    expected: ClassVar[str]
    audio_folders: ClassVar[tuple[str, ...]] = USUAL_FOLDERS
    lists_all_audio: ClassVar[bool] = True

    @abstractmethod
    def can_read(self, path: Path) -> bool:
        """Whether the file can be read in this format if the user asks for it by name."""

    @abstractmethod
    def describe(self, path: Path) -> str:
        """The format and the file's name, for people."""

    @abstractmethod
    def rows(self, path: Path, finder: AudioFinder) -> Iterable[ListedClip | FaultyRow]:
        """The rows of a file that `can_read` accepts."""

    def read(self, path: Path) -> Recordings:
        return self.read_lists([path])

    def read_lists(self, paths: Sequence[Path]) -> Recordings:
        """Reads several lists of one folder as one, such as those of training and of validation."""
        for path in paths:
            if not self.can_read(path):
                raise not_in_format(path, self.name, self.expected)
        first, *others = paths
        names = [self.describe(first), *(path.name for path in others)]
        recordings = Recordings(self.name, printable(", ".join(names)))
        finder = AudioFinder(first.parent, self.audio_folders)
        found: set[Path] = set()
        for path in paths:
            found |= self.add_rows(recordings, path, path.parent, finder)
        if self.lists_all_audio:
            note_unlisted(recordings, finder.unlisted(found))
        return recordings

    def add_rows(self, recordings: Recordings, path: Path, root: Path, finder: AudioFinder) -> set[Path]:
        """Adds what the file lists; ids are relative to `root`. Returns the audio files that rows name."""
        note_encoding(recordings, path)
        found: set[Path] = set()
        for row in self.rows(path, finder):
            place = f"{path}:{row.line}"
            try:
                if isinstance(row, FaultyRow):
                    raise UnusableClip(row.reason)
                audio_path = finder.find(row.audio)
                found.add(audio_path)
                if not row.text.strip() and row.segment == Segment():
                    speaker, language = " ".join(printable(row.speaker).split()), language_code(row.language)
                    id = clip_id(audio_path, root)
                    recordings.add_textless(id, audio_path, place, "the text is empty", speaker, language)
                else:
                    recordings.add(_utterance(row, audio_path, root), place)
            except UnusableClip as fault:
                recordings.exclude(place, str(fault))
        return found


def note_encoding(recordings: Recordings, path: Path) -> None:
    """Says which encoding a list was read in, where it is not UTF-8."""
    encoding = read_text_file(path).encoding
    if encoding != UTF_8:
        recordings.notes.append(
            printable(f"{path.name} was read as {encoding}; save it as UTF-8 if its letters are wrong")
        )


def note_unlisted(recordings: Recordings, unlisted: Sequence[Path]) -> None:
    """Says how many audio files lie below the list and are in none of its rows."""
    if unlisted:
        recordings.notes.append(
            printable(
                f"{len(unlisted)} audio files, such as {unlisted[0].name}, are not in {recordings.source}; not read"
            )
        )


@dataclass(frozen=True)
class Columns:
    """The columns that are read, under the names that the table gives them; None for those that it has not."""

    audio: str
    text: str
    speaker: str | None
    language: str | None = None

    @property
    def names(self) -> list[str]:
        """Those that there are, each once."""
        return list(dict.fromkeys(name for name in (self.audio, self.text, self.speaker, self.language) if name))


def find_columns(names: Iterable[str]) -> Columns | None:
    """The columns among `names`, whatever their case and separators; None without audio or without text."""
    by_plain_name = {
        "_".join(name.lower().replace("-", " ").replace("_", " ").split()): name for name in [*names][::-1]
    }

    def first(known: Sequence[str]) -> str | None:
        return next((by_plain_name[name] for name in known if name in by_plain_name), None)

    audio, text = first(AUDIO_COLUMNS), first(TEXT_COLUMNS)
    if audio is None or text is None:
        return None
    return Columns(audio, text, first(SPEAKER_COLUMNS), first(LANGUAGE_COLUMNS))


def language_code(value: object) -> str:
    """The language of a row as a code without its country: `fr` of `fr-CA`; empty if none is given."""
    return "" if value is None else printable(str(value)).strip().lower().replace("_", "-").partition("-")[0]


def segment_of(row: Mapping[str, Any]) -> Segment:
    """The segment given by `start` (or `offset`) with `duration` or `end`; the whole file without a start.

    Raises:
        UnusableClip: a value that is not a time, or a start without an end.
    """
    given = {name: value for name, value in row.items() if value not in (None, "")}
    start = given.get("start", given.get("offset"))
    if start is None:
        return Segment()
    start_sec = time_sec(start, "start")
    if "duration" in given:
        return Segment(start_sec, start_sec + time_sec(given["duration"], "duration"))
    if "end" in given:
        return Segment(start_sec, time_sec(given["end"], "end"))
    if start_sec > 0:
        raise UnusableClip("the row has a start within its audio file and neither a duration nor an end")
    return Segment()


def time_sec(value: Any, name: str) -> float:
    """A time in seconds; raises `UnusableClip` for anything but a number of at least 0."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf or isinstance(value, bool):
        raise UnusableClip(f"{name} should be a time in seconds, not {value!r}")
    return seconds


def not_in_format(path: Path, format: str, expected: str) -> UserError:
    """The error for a file that is not in the format that the user asked for."""
    return UserError(f"{path} is not in the format {format}: expected {expected}, found {beginning(path)}.")


def _utterance(row: ListedClip, audio_path: Path, root: Path) -> Utterance:
    # The id holds no end time: a row given again with another end is the same clip.
    suffix = f"@{row.segment.start_sec:.3f}" if row.segment.start_sec > 0 else ""
    return Utterance(
        clip_id(audio_path, root) + suffix,
        audio_path,
        checked_text(row.text),
        " ".join(printable(row.speaker).split()),
        row.words,
        row.segment.start_sec,
        row.segment.end_sec,
        split=row.split,
        language=language_code(row.language),
    )
