"""What every reader gives, and what they share: which files are audio, and how a text is read.

Convention: ids are paths relative to the folder that was read, without suffix, with forward slashes. Hidden
files (`._clip.wav`, which macOS leaves in archives) do not exist for any reader.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from calm_ft.data.utterance import Exclusion, Utterance

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


class UnusableText(Exception):  # noqa: N818 - a verdict on the text, caught clip by clip
    """Text that nothing can be trained on; the message is the reason for an `Exclusion`."""


@dataclass
class Recordings:
    """What was found: the clips in a fixed order, what was left out, and the format that was recognised."""

    format_name: str
    utterances: list[Utterance] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    _taken: dict[str, Path] = field(default_factory=dict, repr=False)

    def add(self, utterance: Utterance, listed_at: str | None = None) -> None:
        """Keeps the utterance, or excludes it where its id is taken already."""
        if utterance.id in self._taken:
            place = "" if listed_at is None else f"{listed_at}: "
            first = self._taken[utterance.id].name
            self.exclude(utterance.audio_path, f"{place}the clip '{utterance.id}' was given before, as {first}")
            return
        self._taken[utterance.id] = utterance.audio_path
        self.utterances.append(utterance)

    def exclude(self, path: Path | str, reason: str) -> None:
        """Notes that what lies at `path` is left out."""
        self.exclusions.append(Exclusion(str(path), reason))


def visible_files(folder: Path) -> list[Path]:
    """All files below `folder` whose path from there has no hidden part, sorted."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(folder).parts))


def clip_id(path: Path, folder: Path) -> str:
    """The path from `folder` without its suffix; the whole path for a file that lies elsewhere."""
    inside = path.relative_to(folder) if path.is_relative_to(folder) else path
    return inside.with_suffix("").as_posix()


def is_audio(path: Path) -> bool:
    """Whether the suffix, in any case, is one that is read."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def decode_text(data: bytes) -> str:
    """UTF-8 text with or without a byte-order mark, its runs of white space made single blanks.

    Raises `UnusableText` where the bytes are not UTF-8 or hold not one letter or digit.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableText("the text is not UTF-8") from None
    if "\0" in text:
        raise UnusableText("the text is not UTF-8")
    return checked_text(text)


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
