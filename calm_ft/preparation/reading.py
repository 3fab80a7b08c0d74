"""The recordings of a folder with their lengths and the hashes of their files, looked up where nothing changed."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_ft.data.audio import recorded_duration_sec
from calm_ft.data.sources import is_kept_clip, read_recordings
from calm_ft.data.utterance import DEFAULT_SPEAKER, UnusableClip, Utterance, printable
from calm_ft.errors import UserError
from calm_ft.preparation.clips import HeardWord
from calm_ft.preparation.dataset import ClipLeftOut
from calm_ft.preparation.pieces import Recording
from calm_ft.preparation.results import Results
from calm_ft.preparation.words.text import known_code
from calm_ft.progress import Progress


@dataclass(frozen=True)
class Shard:
    """This machine's share of the source files: those whose name's hash is `number` - 1 modulo `count`."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Shard":
        """From `2/8`. Raises UserError for anything else."""
        if text is None:
            return cls()
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UserError(f"--shard {text} should be NUMBER/COUNT, from 1/8 to 8/8 for eight machines.")
        return cls(int(number), int(count))

    @property
    def name(self) -> str:
        """Empty for the whole."""
        return f"{self.number}-of-{self.count}" if self.count > 1 else ""

    def has(self, source: str) -> bool:
        """Whether the file belongs to this share."""
        digest = hashlib.sha256(source.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


@dataclass(frozen=True)
class Listing:
    """What a folder holds: recordings to work on, what cannot be used, and for people how it was read."""

    recordings: list[Recording]
    left_out: list[ClipLeftOut]
    format_name: str
    notes: list[str]


def list_recordings(path: Path, format: str | None, speakers: str | None, results: Results, shard: Shard) -> Listing:
    """Reads what lies at `path`, with and without text.

    Raises:
        UserError: there is no audio, or the format cannot be told.
    """
    found = read_recordings(path, format, speakers, require_text=False)
    found.allow_textless()
    root = path if path.is_dir() else path.parent
    left_out = [
        ClipLeftOut(each.path, each.path, "unreadable", each.reason, each.duration_sec) for each in found.exclusions
    ]
    utterances = [*found.utterances, *found.textless]
    recordings = []
    with Progress("reading", len(utterances), unit="file", delay_sec=2.0) as bar:
        for utterance in utterances:
            bar.update()
            is_kept = is_kept_clip(utterance.audio_path)  # out of a table: its file has no name that tells anything
            source = utterance.id if is_kept else printable(os.path.relpath(utterance.audio_path, root))
            if not shard.has(source):
                continue
            try:
                recordings.append(_recording(utterance, source, results))
            except (UnusableClip, OSError) as fault:
                reason = str(fault) if isinstance(fault, UnusableClip) else "the audio file cannot be opened"
                left_out.append(ClipLeftOut(utterance.id, source, "unreadable", reason))
    return Listing(recordings, left_out, found.format_name, [*found.notes, *_unknown_languages(utterances)])


def _recording(utterance: Utterance, source: str, results: Results) -> Recording:
    digest = _digest(utterance.audio_path, results)
    words = tuple(HeardWord(word.word, word.start_sec, word.end_sec) for word in utterance.words or ())
    return Recording(
        id=utterance.id,
        path=utterance.audio_path.absolute(),
        source=source,
        digest=digest,
        speaker=utterance.speaker or DEFAULT_SPEAKER,
        text=utterance.text or None,
        duration_sec=recorded_duration_sec(utterance),
        start_sec=utterance.start_sec,
        end_sec=utterance.end_sec,
        words=words,
        language=known_code(utterance.language),
    )


def _unknown_languages(utterances: Sequence[Utterance]) -> list[str]:
    """A note where the list calls languages otherwise than by a code."""
    named = Counter(each.language for each in utterances if each.language and known_code(each.language) is None)
    if not named:
        return []
    return [
        f"{named.total()} rows call their language '{named.most_common(1)[0][0]}' or the like, which is no ISO 639 "
        "code: they are read as rows that name none"
    ]


def _digest(path: Path, results: Results) -> str:
    """The hash of a file's bytes, by its size and time of change where it was read before."""
    state = path.stat()
    name, made_from = f"file {printable(path.absolute())}", f"{state.st_size} {state.st_mtime_ns}"
    if results.has(name, made_from):
        return str(results.read(name)["digest"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    results.write(name, made_from, {"digest": digest})
    return digest
