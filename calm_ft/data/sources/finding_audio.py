"""Which files are audio, how each clip is named, and where the audio of a table's row lies.

A clip's id is its path relative to the folder that was read, without suffix and with forward slashes. Hidden files
(such as `._clip.wav`, which macOS leaves in archives) are ignored everywhere.
"""

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from calm_ft.data.utterance import UnusableClip, printable

# In order of preference where a table's row gives no suffix and several files fit: lossless first, films last.
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".oga")
# What phones, browsers, call recorders and cameras write; PyAV reads most of it (media.py).
MEDIA_SUFFIXES = (
    *(".m4a", ".m4b", ".aac", ".mp4", ".mov", ".m4v", ".wma", ".webm", ".weba", ".mka", ".mkv", ".amr", ".3gp", ".3g2"),
    *(".caf", ".aifc", ".au", ".snd", ".w64", ".rf64", ".gsm", ".mp2", ".mpga", ".ac3", ".spx", ".wv", ".tta", ".ape"),
    *(".avi", ".asf", ".wmv", ".flv", ".mpg", ".mpeg", ".sph", ".nist", ".voc"),
)
AUDIO_SUFFIXES = (*SOUND_SUFFIXES, *MEDIA_SUFFIXES)
# Folders that merely tell audio from text.
AUDIO_TREES = ("wav", "wavs", "wav48", "wav48_silence_trimmed", "flac", "mp3", "audio", "clips", "recordings", "sound")
TEXT_TREES = ("txt", "text", "texts", "lab", "labs", "transcript", "transcripts", "transcription", "transcriptions")
USUAL_FOLDERS = ("", "wavs/", "clips/", "audio/")


def is_audio(path: Path) -> bool:
    """Whether the suffix, in upper or lower case, is that of an audio or video format."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def is_media(path: Path) -> bool:
    """Whether the suffix is that of a format which may hold more than sound, or is rarely what one trains from."""
    return path.suffix.lower() in MEDIA_SUFFIXES


def clip_id(path: Path, folder: Path) -> str:
    """The path relative to `folder` without suffix; it begins with `../` if the file lies outside of it."""
    return printable(Path(os.path.relpath(path, folder)).with_suffix("").as_posix())


def visible_files(folder: Path) -> list[Path]:
    """All files in `folder` and its subfolders without the hidden ones, sorted.

    Links to folders are followed, each target once. Links to the folder itself, into it or above it are not followed:
    they would never end, or give a clip twice.
    """
    return [Path(path) for path in _walk(str(folder), folder.resolve(), set())]


def _walk(place: str, root: Path, followed: set[Path]) -> Iterator[str]:
    try:
        with os.scandir(place) as entries:
            found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:  # a folder that may not be opened
        return
    for entry in found:
        # os.path answers for links, because an entry raises for those that are loops.
        is_link = entry.is_symlink()
        if os.path.isdir(entry.path) if is_link else entry.is_dir():
            if not is_link or _is_new(Path(entry.path).resolve(), root, followed):
                yield from _walk(entry.path, root, followed)
        elif os.path.isfile(entry.path) if is_link else entry.is_file():
            yield entry.path


def _is_new(target: Path, root: Path, followed: set[Path]) -> bool:
    if target.is_relative_to(root) or root.is_relative_to(target) or target in followed:
        return False
    followed.add(target)
    return True


class AudioFinder:
    """Finds the audio file that a row of a table or manifest names.

    A name may be relative to the table's folder, to one of the `places` in it (`wavs/`, `clips/`, `audio/`), to the
    two folders above it, or to the current folder. It may be absolute, may have backslashes, and may lack the suffix.
    For an absolute path that does not exist (the data was moved from another machine), the longest end of the path
    that exists below the table's folder is taken. A name may differ from the file's in case or Unicode form, and may
    lack its folder, where only one file fits.
    """

    def __init__(self, folder: Path, places: tuple[str, ...] = USUAL_FOLDERS) -> None:
        self.folder = folder
        self.places = places

    def find(self, name: str) -> Path:
        """Returns the file; raises `UnusableClip` if there is none, or none of an audio format."""
        name = name.strip()
        spellings = list(dict.fromkeys((name, name.replace("\\", "/"))))
        # The table may still name the recording that was converted, with its old suffix.
        spellings += [os.path.splitext(each)[0] for each in spellings if is_media(Path(each))]
        for spelling in spellings:
            found = self._find(spelling)
            if found is not None:
                return found
        if not name:
            raise UnusableClip("the row names no audio file")
        if any(os.path.isfile(self.folder / place / name) for place in self.places):
            raise UnusableClip(f"'{name}' is not an audio file")
        raise UnusableClip(f"there is no audio file '{name}'")

    def has(self, name: str) -> bool:
        """Whether `find` finds a file."""
        try:
            self.find(name)
        except UnusableClip:
            return False
        return True

    def unlisted(self, found: set[Path]) -> list[Path]:
        """The audio files below the folder that are not among those found, in order."""
        return sorted(set(self._below.values()) - found)

    def _find(self, name: str) -> Path | None:
        return self._find_absolute(name) if _is_absolute(name) else self._find_relative(name)

    def _find_relative(self, name: str) -> Path | None:
        name = os.path.normpath(name)
        for place in self.places:
            found = self._below.get(_key(place + name))
            if found is not None:
                return found
        if "/" in name:
            for folder in (self.folder, self.folder.parent, self.folder.parent.parent, Path()):
                path = Path(os.path.normpath(folder / name))
                if _is_audio_file(path):
                    return path if folder != Path() else path.absolute()
        return self._find_alike(name)

    def _find_alike(self, name: str) -> Path | None:
        """The one file whose name differs only in case or form; None if there is none or more than one."""
        keys = [_folded(place + name) for place in self.places]
        tried = keys if "/" in name else [*keys, f"*/{_folded(name)}"]
        return next((found for key in tried if (found := self._only_one(key)) is not None), None)

    def _only_one(self, key: str) -> Path | None:
        files = self._alike.get(key, set())
        return next(iter(files)) if len(files) == 1 else None

    def _find_absolute(self, name: str) -> Path | None:
        path = Path(os.path.normpath(name))
        for candidate in (path, *(Path(f"{path}{suffix}") for suffix in AUDIO_SUFFIXES)):
            if _is_audio_file(candidate):
                return candidate
        parts = path.parts[1:]
        ends = ["/".join(parts[first:]) for first in range(len(parts))]
        found = next((found for end in ends if (found := self._below.get(_key(end))) is not None), None)
        return found or next((one for end in ends if (one := self._only_one(_folded(end))) is not None), None)

    @cached_property
    def _below(self) -> dict[str, Path]:
        """Audio files by their path from the folder, with and without suffix."""
        by_name: dict[str, Path] = {}
        for path in sorted(filter(is_audio, visible_files(self.folder)), key=_preference):
            name = path.relative_to(self.folder).as_posix()
            by_name[_key(name)] = path
            by_name.setdefault(_key(os.path.splitext(name)[0]), path)
        return by_name

    @cached_property
    def _alike(self) -> dict[str, set[Path]]:
        """Audio files by their path in one case and form, and by `*/` and their name alone."""
        by_name: dict[str, set[Path]] = {}
        for name, path in self._below.items():
            for key in (_folded(name), f"*/{_folded(name.rpartition('/')[2])}"):
                by_name.setdefault(key, set()).add(path)
        return by_name


def _is_audio_file(path: Path) -> bool:
    # os.path: pathlib raises for names that no file system takes, such as a text in the wrong column.
    return is_audio(path) and os.path.isfile(path)


def _preference(path: Path) -> int:
    return AUDIO_SUFFIXES.index(path.suffix.lower())


def _key(name: str) -> str:
    """The name in Unicode's composed form (macOS gives decomposed ones), an audio suffix in lower case."""
    stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name))
    return stem + suffix.lower() if suffix.lower() in AUDIO_SUFFIXES else stem + suffix


def _folded(name: str) -> str:
    """The name without regard to case; bytes that are not UTF-8 are taken as Windows' western letters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = name.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return _key(unicodedata.normalize("NFC", name).casefold())


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or re.match(r"[A-Za-z]:/", name) is not None
