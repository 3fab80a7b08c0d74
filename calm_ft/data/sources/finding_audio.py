"""Which files are audio, how each clip is named, and where the audio of a table's row lies.

A clip's id is its path relative to the folder that was read, without suffix and with forward slashes. Hidden files
(such as `._clip.wav`, which macOS leaves in archives) are ignored everywhere.
"""

import os
import re
import shlex
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from calm_ft.data.utterance import UnusableClip, printable

# In order of preference where a table's row gives no suffix and several files fit.
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".oga")
# What phones and browsers record to and libsndfile does not read. The reader names these files and how to convert them.
UNREADABLE_AUDIO_SUFFIXES = (
    *(".m4a", ".m4b", ".aac", ".mp4", ".mov", ".wma", ".webm", ".weba", ".mkv", ".mka"),
    *(".amr", ".3gp", ".caf", ".spx", ".wv", ".ape"),
)
USUAL_FOLDERS = ("", "wavs/", "clips/", "audio/")


def is_audio(path: Path) -> bool:
    """Whether the suffix, in upper or lower case, is that of a readable audio format."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def is_unreadable_audio(path: Path) -> bool:
    """Whether the suffix is that of an audio or video format that must be converted first."""
    return path.suffix.lower() in UNREADABLE_AUDIO_SUFFIXES


def conversion_command(paths: Sequence[Path]) -> str:
    """A shell command that converts one file, or all files of the first one's folder and suffix."""
    first = paths[0]
    if len(paths) == 1:
        return f"ffmpeg -i {_quoted(first)} {_quoted(first.with_suffix('.wav'))}"
    return f'for f in {_quoted(first.parent)}/*{first.suffix}; do ffmpeg -i "$f" "${{f%.*}}.wav"; done'


def clip_id(path: Path, folder: Path) -> str:
    """The path relative to `folder` without suffix; it begins with `../` if the file lies outside of it."""
    return printable(Path(os.path.relpath(path, folder)).with_suffix("").as_posix())


def visible_files(folder: Path) -> list[Path]:
    """All files in `folder` and its subfolders without the hidden ones, sorted.

    Links to folders are followed, each target once. Links to the folder itself, into it or above it are not followed:
    they would never end, or give a clip twice.
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


class AudioFinder:
    """Finds the audio file that a row of a table or manifest names.

    A name may be relative to the table's folder, to one of the `places` in it (`wavs/`, `clips/`, `audio/`), to its
    parent folder, or to the current folder. It may be absolute, may have backslashes, and may lack the suffix. For an
    absolute path that does not exist (the data was moved from another machine), the longest end of the path that
    exists below the table's folder is taken.
    """

    def __init__(self, folder: Path, places: tuple[str, ...] = USUAL_FOLDERS) -> None:
        self.folder = folder
        self.places = places

    def find(self, name: str) -> Path:
        """Returns the file; raises `UnusableClip` if there is none, or none in a readable format."""
        name = name.strip()
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            found = self._find(spelling)
            # The table may still name the recording that was converted.
            if found is None and is_unreadable_audio(Path(spelling)):
                found = self._find(os.path.splitext(spelling)[0])
            if found is not None:
                return found
        if not name:
            raise UnusableClip("the row names no audio file")
        existing = [path for place in self.places if os.path.isfile(path := self.folder / place / name)]
        if existing or is_unreadable_audio(Path(name)):
            is_media = existing and is_unreadable_audio(existing[0])
            way = f": {conversion_command(existing[:1])}" if is_media else " to wav or flac"
            raise UnusableClip(f"'{name}' is not an audio file that can be read; convert it{way}")
        raise UnusableClip(f"there is no audio file '{name}'")

    def has(self, name: str) -> bool:
        """Whether `find` finds a file."""
        try:
            self.find(name)
        except UnusableClip:
            return False
        return True

    def _find(self, name: str) -> Path | None:
        return self._find_absolute(name) if _is_absolute(name) else self._find_relative(name)

    def _find_relative(self, name: str) -> Path | None:
        name = os.path.normpath(name)
        for place in self.places:
            found = self._below.get(_key(place + name))
            if found is not None:
                return found
        if "/" in name:
            for folder in (self.folder, self.folder.parent, Path()):
                path = Path(os.path.normpath(folder / name))
                if _is_audio_file(path):
                    return path if folder != Path() else path.absolute()
        return None

    def _find_absolute(self, name: str) -> Path | None:
        path = Path(os.path.normpath(name))
        for candidate in (path, *(Path(f"{path}{suffix}") for suffix in AUDIO_SUFFIXES)):
            if _is_audio_file(candidate):
                return candidate
        parts = path.parts[1:]
        ends = ("/".join(parts[first:]) for first in range(len(parts)))
        return next((found for end in ends if (found := self._below.get(_key(end))) is not None), None)

    @cached_property
    def _below(self) -> dict[str, Path]:
        """Audio files by their path from the folder, with and without suffix."""
        by_name: dict[str, Path] = {}
        for path in sorted(filter(is_audio, visible_files(self.folder)), key=_preference):
            by_name[_key(path.relative_to(self.folder).as_posix())] = path
            by_name.setdefault(_key(path.relative_to(self.folder).with_suffix("").as_posix()), path)
        return by_name


def _quoted(path: Path) -> str:
    return shlex.quote(printable(path))


def _is_audio_file(path: Path) -> bool:
    # os.path: pathlib raises for names that no file system takes, such as a text in the wrong column.
    return is_audio(path) and os.path.isfile(path)


def _preference(path: Path) -> int:
    return AUDIO_SUFFIXES.index(path.suffix.lower())


def _key(name: str) -> str:
    """The name in Unicode's composed form (macOS gives decomposed ones), an audio suffix in lower case."""
    stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name))
    return stem + suffix.lower() if suffix.lower() in AUDIO_SUFFIXES else stem + suffix


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or re.match(r"[A-Za-z]:/", name) is not None
