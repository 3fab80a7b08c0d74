"""Where the audio of a row lies: what tables write in a path column, made a file.

A name may be relative to the table's folder or to `wavs/`, `clips/` or `audio/` in it, to the folder above (lists kept
in a folder of their own) or to where the command runs (the official manifest); it may be absolute, with backslashes,
and without its suffix. Of an absolute path that does not exist here, as after a move from another machine, the longest
end that exists below the table's folder counts.
"""

import os
import re
import unicodedata
from functools import cached_property
from pathlib import Path

from calm_ft.data.sources.recordings import (
    AUDIO_SUFFIXES,
    FOREIGN_AUDIO_SUFFIXES,
    UnusableText,
    clip_id,
    is_audio,
    visible_files,
)

USUAL_FOLDERS = ("", "wavs/", "clips/", "audio/")


class AudioFinder:
    """Finds audio by the names that the tables in `folder` give it, in the first of `places` that has it."""

    def __init__(self, folder: Path, places: tuple[str, ...] = USUAL_FOLDERS) -> None:
        self.folder = folder
        self.places = places

    def find(self, name: str) -> Path:
        """The file; raises `UnusableText` where there is none, or none that can be read as audio."""
        name = name.strip()
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            found = self._find_absolute(spelling) if _is_absolute(spelling) else self._find_relative(spelling)
            if found is not None:
                return found
        if not name:
            raise UnusableText("the row names no audio file")
        if name.lower().endswith(FOREIGN_AUDIO_SUFFIXES) or os.path.isfile(self.folder / name):
            raise UnusableText(f"'{name}' is no audio file that can be read; convert it to wav or flac")
        raise UnusableText(f"there is no audio file '{name}'")

    def has(self, name: str) -> bool:
        """Whether `find` finds it."""
        try:
            self.find(name)
        except UnusableText:
            return False
        return True

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
        """Audio files by their path from the folder, with suffix and without; lossless ones first among equals."""
        by_name: dict[str, Path] = {}
        for path in sorted(filter(is_audio, visible_files(self.folder)), key=_preference):
            by_name[_key(path.relative_to(self.folder).as_posix())] = path
            by_name.setdefault(_key(clip_id(path, self.folder)), path)
        return by_name


def _is_audio_file(path: Path) -> bool:
    # os.path: pathlib raises for names that no file system takes, such as a text in the wrong column.
    return is_audio(path) and os.path.isfile(path)


def _preference(path: Path) -> int:
    return AUDIO_SUFFIXES.index(path.suffix.lower())


def _key(name: str) -> str:
    """The name in Unicode's composed form, since macOS hands out decomposed ones, its suffix in small letters."""
    stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name))
    return stem + suffix.lower() if suffix.lower() in AUDIO_SUFFIXES else stem + suffix


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or re.match(r"[A-Za-z]:/", name) is not None
