"""A text beside each recording: in a file of the same name, in a tree of the same shape, or as subtitles.

The text of `clip.wav` is `clip.txt`, `clip.lab` or, as LibriTTS has it, `clip.normalized.txt`. It lies in the same
folder, or in a folder for texts beside one for audio (`txt/p225/x.txt` and `wav48/p225/x.wav`, as VCTK has it). A name
that differs only in case or Unicode form fits too, if it is the only one.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_ft.data.audio import known_duration_sec
from calm_ft.data.sources.encodings import UTF_8, common_code_page, decode_content
from calm_ft.data.sources.finding_audio import AUDIO_TREES, TEXT_TREES, clip_id, is_audio, is_media, visible_files
from calm_ft.data.sources.recordings import RecordingFormat, Recordings
from calm_ft.data.sources.subtitles import SUBTITLE_SUFFIXES, read_cues
from calm_ft.data.sources.text_lines import checked_text, decode_line
from calm_ft.data.utterance import UnusableClip, Utterance, printable
from calm_ft.errors import UserError

# In order of preference. LibriTTS gives each text twice, the normalized one as it is spoken.
TEXT_SUFFIXES = (".normalized.txt", ".txt", ".lab", ".original.txt")
LISTING_SUFFIXES = (".csv", ".tsv", ".jsonl")
# VCTK has each sentence from two microphones.
MICROPHONE = re.compile(r"_mic\d$", re.IGNORECASE)
LANGUAGE = re.compile(r"\.[a-z]{2,3}(-[a-z0-9]+)*$", re.IGNORECASE)
# Recordings longer than this are read by their subtitles if they have both these and a text.
LONG_SEC = 30.0
# A label file of HTK or of a singing corpus: times and phones, no words.
PHONE_TIMES = re.compile(rb"^\s*\d+(\.\d+)?\s+\d+(\.\d+)?\s+\S+\s*$")


class Pairs(RecordingFormat):
    """`clip.wav` beside `clip.txt`, in any subfolder; the text file holds what the recording says."""

    name = "pairs"

    def recognises(self, path: Path) -> bool:
        """Never: a single file is not enough for a pair."""
        return False

    def read(self, path: Path) -> Recordings:
        """Reads all audio in a folder with the texts beside it, or one recording.

        Raises:
            UserError: the folder is empty, or holds no audio.
        """
        root = path if path.is_dir() else path.parent
        files = visible_files(root) if path.is_dir() else [path, *_beside(path)]
        audio_paths = _audio(files, root)
        _check_audio(root, files, audio_paths)
        texts = _Texts(files, root)
        recordings = Recordings(self.name, "audio-text pairs")
        if not texts.files:
            recordings.text_fault = _no_text(root, files, audio_paths)
        microphones: set[str] = set()
        for audio_path in audio_paths:
            _add_recording(recordings, clip_id(audio_path, root), audio_path, texts, microphones)
        recordings.notes += texts.notes()
        for file in texts.orphans(audio_paths):
            recordings.exclude(file, "there is no audio file of this name beside the text")
        return recordings


@dataclass(frozen=True)
class _TextFile:
    path: Path
    stem: str  # relative to the root, without suffix
    rank: int  # the best text of a recording has the lowest
    is_subtitles: bool


class _Texts:
    """The text files below a folder, and which of them belongs to which recording."""

    def __init__(self, files: Sequence[Path], root: Path) -> None:
        self.root = root
        self.files = [text for file in files if (text := _as_text(file, root)) is not None]
        self._content = {text.path: text.path.read_bytes() for text in self.files}
        self._code_page = common_code_page(self._content.values())
        self._decoded_as: dict[str, list[Path]] = {}
        self._by_key: list[dict[str, list[_TextFile]]] = []
        for key_of in KEYS:
            index: dict[str, list[_TextFile]] = {}
            for text in self.files:
                index.setdefault(key_of(text.stem), []).append(text)
            self._by_key.append(index)

    def of(self, id: str) -> list[_TextFile]:
        """The texts of a recording, the best first; raises `UnusableClip` if several fit equally."""
        for key_of, index in zip(KEYS, self._by_key, strict=True):
            found = sorted(index.get(key_of(id), []), key=lambda text: text.rank)
            if len(found) > 1 and found[0].rank == found[1].rank:
                raise UnusableClip(f"two texts fit the audio: {found[0].path.name} and {found[1].path.name}")
            if found:
                return found
        return []

    def read(self, text: _TextFile) -> str:
        """What the file holds, decoded and checked for what is no text."""
        decoded = decode_content(self._content[text.path], self._code_page)
        lines = decoded.content.splitlines()
        if (
            text.path.suffix.lower() == ".lab"
            and lines
            and all(PHONE_TIMES.match(line) for line in lines if line.strip())
        ):
            raise UnusableClip(f"{text.path.name} holds the times of phones, not a text")
        content = decode_line(decoded.content)
        if decoded.encoding != UTF_8:
            self._decoded_as.setdefault(decoded.encoding, []).append(text.path)
        return content

    def notes(self) -> list[str]:
        """In which encoding texts were read, where that is not UTF-8."""
        return [
            printable(f"{len(paths)} texts, such as {paths[0].name}, were read as {encoding}; ")
            + "save them as UTF-8 if their letters are wrong"
            for encoding, paths in self._decoded_as.items()
        ]

    def orphans(self, audio_paths: Sequence[Path]) -> list[Path]:
        """Texts without a recording."""
        ids = [clip_id(path, self.root) for path in audio_paths]
        keys = [{key_of(id) for id in ids} for key_of in KEYS]
        return [
            text.path
            for text in self.files
            if not any(key_of(text.stem) in known for key_of, known in zip(KEYS, keys, strict=True))
        ]


def _exact(stem: str) -> str:
    return stem


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()


def _of_tree(stem: str) -> str:
    """The name without the folders that only tell audio from text, and without the microphone or language."""
    *folders, name = _folded(stem).split("/")
    name = LANGUAGE.sub("", MICROPHONE.sub("", name))
    return "/".join([folder for folder in folders if folder not in (*AUDIO_TREES, *TEXT_TREES)] + [name])


# Narrow before wide: a text of exactly this name goes before one that would fit as well.
KEYS = (_exact, _folded, _of_tree)


def _as_text(path: Path, root: Path) -> _TextFile | None:
    suffixes = (*TEXT_SUFFIXES, *SUBTITLE_SUFFIXES)
    fitting = [suffix for suffix in suffixes if path.name.lower().endswith(suffix)]
    if not fitting:
        return None
    suffix = max(fitting, key=len)  # `.normalized.txt` is also `.txt`
    stem = clip_id(path.with_name(path.name[: -len(suffix)] + ".txt"), root)
    return _TextFile(path, stem, suffixes.index(suffix), suffix in SUBTITLE_SUFFIXES)


def _audio(files: Sequence[Path], root: Path) -> list[Path]:
    """The audio files, without films and phone recordings whose sound lies beside them in another format."""
    audio_paths = [file for file in files if is_audio(file)]
    sounds = {clip_id(path, root) for path in audio_paths if not is_media(path)}
    return [path for path in audio_paths if not is_media(path) or clip_id(path, root) not in sounds]


def _beside(path: Path) -> list[Path]:
    """The text files beside one recording that may belong to it."""
    return sorted(file for file in path.parent.iterdir() if file.name.startswith(path.stem + ".") and file != path)


def _add_recording(recordings: Recordings, id: str, audio_path: Path, texts: _Texts, microphones: set[str]) -> None:
    if MICROPHONE.search(id):
        if (sentence := _of_tree(id)) in microphones:
            recordings.exclude(audio_path, "the same sentence is read from another microphone")
            return
        microphones.add(sentence)
    try:
        found = texts.of(id)
        plain, subtitles = (next((each for each in found if each.is_subtitles is kind), None) for kind in (False, True))
        if subtitles is not None and (plain is None or _is_long(audio_path)):
            _add_cues(recordings, id, audio_path, texts.read(subtitles), subtitles.path)
            return
        content = "" if plain is None else texts.read(plain)
        if not content.strip():
            reason = "there is no text beside the audio" if plain is None else "the text is empty"
            recordings.add_textless(id, audio_path, audio_path, reason)
            return
        text = checked_text(content)
    except UnusableClip as fault:
        recordings.exclude(audio_path, str(fault))
        return
    recordings.add(Utterance(id, audio_path, text, speaker=""), str(audio_path))


def _add_cues(recordings: Recordings, id: str, audio_path: Path, content: str, place: Path) -> None:
    for cue in read_cues(content):
        try:
            text = checked_text(cue.text)
        except UnusableClip:  # music notes, dots: nothing is said there
            continue
        clip = Utterance(f"{id}@{cue.start_sec:.3f}", audio_path, text, "", None, cue.start_sec, cue.end_sec)
        recordings.add(clip, f"{place}: {cue.start_sec:.3f} s")


def _is_long(audio_path: Path) -> bool:
    return (known_duration_sec(Utterance("", audio_path, "")) or 0.0) > LONG_SEC


def _check_audio(folder: Path, files: Sequence[Path], audio: Sequence[Path]) -> None:
    if not files:
        raise UserError(f"The folder {folder} is empty; put recordings there, clip.wav beside clip.txt.")
    if not audio:
        raise UserError(
            f"The folder {folder} holds no audio; recordings are wav, flac, mp3, ogg, m4a, mp4, webm and similar files."
        )


def _no_text(folder: Path, files: Sequence[Path], audio: Sequence[Path]) -> str:
    listings = [path for path in files if path.suffix.lower() in LISTING_SUFFIXES]
    way_out = (
        f"point at {listings[0].parent} instead, where {listings[0].name} lies"
        if listings
        else "let them be transcribed, python scripts/prepare.py "
        f"{folder} --output-dir DATASET, or put what is said in each clip.wav into a clip.txt beside it"
    )
    return f"The folder {folder} holds {len(audio)} audio files but no text; {way_out}."
