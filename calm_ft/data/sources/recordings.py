"""What every reader gives, and what they share: which files are audio, and how a text is read.

Convention: ids are paths relative to the folder that was read, without suffix, with forward slashes. Hidden
files (`._clip.wav`, which macOS leaves in archives) do not exist for any reader.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from calm_ft.data.utterance import Exclusion, Utterance

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
# What phones and browsers record to, and libsndfile does not read: named, so that nobody wonders where clips
# went.
FOREIGN_AUDIO_SUFFIXES = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".3gp")


class UnusableText(Exception):  # noqa: N818 - a verdict on the text, caught clip by clip
    """A row or text that nothing can be trained on; the message is the reason for an `Exclusion`."""


@dataclass
class Recordings:
    """What was found: the clips in a fixed order, what was left out, and the format that was recognised.

    `format` is the name that `data.format=` takes, `source` what was read in the format's own words. Readers leave
    the speaker empty where nothing names it, until speakers.py settles it. `places` says by id where a clip is
    listed, `table.csv:12`.
    """

    format: str
    source: str
    utterances: list[Utterance] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict, repr=False)
    _taken: dict[str, Path] = field(default_factory=dict, repr=False)

    @property
    def format_name(self) -> str:
        """The format and how many entries it had, for people: `LJSpeech metadata.csv, 120 rows`."""
        num_entries = len(self.utterances) + len(self.exclusions)
        entry = "clip" if self.format == "pairs" else "row"
        return f"{self.source}, {num_entries} {entry}{'' if num_entries == 1 else 's'}"

    @property
    def num_speakers(self) -> int:
        """How many speakers the clips have together."""
        return len({utterance.speaker for utterance in self.utterances})

    def add(self, utterance: Utterance, place: str) -> None:
        """Keeps the utterance, or excludes it where its id is taken already."""
        if utterance.id in self._taken:
            self.exclude(place, f"the clip '{utterance.id}' was given before, as {self._taken[utterance.id].name}")
            return
        self._taken[utterance.id] = utterance.audio_path
        self.places[utterance.id] = place
        self.utterances.append(utterance)

    def exclude(self, place: Path | str, reason: str) -> None:
        """Notes that what lies or is listed at `place` is left out."""
        self.exclusions.append(Exclusion(str(place), reason))


def visible_files(folder: Path) -> list[Path]:
    """All files below `folder` whose path from there has no hidden part, sorted.

    Links to folders are followed, each target once. Not those that lead back into the folder or above it: they
    would go round, or give a clip twice.
    """
    found: list[Path] = []
    root = folder.resolve()
    followed: set[Path] = set()

    def is_new(path: Path) -> bool:
        if not path.is_symlink():
            return True
        target = path.resolve()
        if target.is_relative_to(root) or root.is_relative_to(target) or target in followed:
            return False
        followed.add(target)
        return True

    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in sorted(folders) if not name.startswith(".") and is_new(here / name)]
        found += (here / name for name in names if not name.startswith(".") and (here / name).is_file())
    return sorted(found)


def clip_id(path: Path, folder: Path) -> str:
    """The path from `folder` without its suffix, `../` for a file that lies elsewhere."""
    return Path(os.path.relpath(path, folder)).with_suffix("").as_posix()


def is_audio(path: Path) -> bool:
    """Whether the suffix, in any case, is one that is read."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def decode_line(data: bytes) -> str:
    """UTF-8 text, a byte-order mark taken off; raises `UnusableText` where the bytes are something else."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableText("the text is not UTF-8") from None
    if "\0" in text:
        raise UnusableText("the text is not UTF-8")
    return text


def checked_text(text: str) -> str:
    """The text in single blanks; raises `UnusableText` where there is nothing to say in it."""
    if not any(character.isalnum() for character in text):
        raise UnusableText("the text is empty" if not text.strip() else "the text holds no word")
    return " ".join(text.split())


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1 and the bytes of every line that is not blank, without a byte-order mark.

    Bytes, because one undecodable row must not cost the others, and because `str.splitlines` also splits at
    characters such as U+2028 that occur inside texts.
    """
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield number, line.rstrip(b"\r")
