"""Corpora for speech recognition: Kaldi's data folders, and LibriSpeech's `*.trans.txt` in every chapter."""

from collections.abc import Iterator
from pathlib import Path

from calm_ft.data.sources.finding_audio import AudioFinder, visible_files
from calm_ft.data.sources.recordings import (
    FaultyRow,
    ListedClip,
    ListFormat,
    Recordings,
    Segment,
    not_in_format,
    time_sec,
)
from calm_ft.data.sources.text_lines import decode_line, numbered_lines
from calm_ft.data.utterance import UnusableClip, printable

TRANSCRIPT_SUFFIX = ".trans.txt"


class Kaldi(ListFormat):
    """A folder with `wav.scp` and `text`, and perhaps `utt2spk` and `segments`, one entry a line.

    Source: kaldi-asr.org/doc/data_prep.html. An entry of `wav.scp` that is a command is not run; its row is left out.
    """

    name = "kaldi"
    expected = "wav.scp and text, one entry a line"

    def recognises(self, path: Path) -> bool:
        """By the usual names."""
        return path.name in ("wav.scp", "text", "segments", "utt2spk") and self.can_read(path)

    def recognises_folder(self, folder: Path) -> bool:
        return self.can_read(folder / "wav.scp")

    def can_read(self, path: Path) -> bool:
        return all((path.parent / name).is_file() for name in ("wav.scp", "text"))

    def describe(self, path: Path) -> str:
        return f"Kaldi {path.parent.name}"

    def read(self, path: Path) -> Recordings:
        """Reads a data folder, or the one in which the file lies."""
        return super().read(path / "text" if path.is_dir() else path.with_name("text"))

    def rows(self, path: Path, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
        folder = path.parent
        audio = _entries(folder / "wav.scp")
        speakers, segments = _entries(folder / "utt2spk"), _entries(folder / "segments")
        for number, line in numbered_lines(path):
            try:
                id, _, text = decode_line(line).strip().partition(" ")
                recording, segment = _segment(segments[id]) if id in segments else (id, Segment())
                if recording not in audio:
                    raise UnusableClip(f"wav.scp has no entry '{recording}'")
                name = audio[recording]
                if name.endswith("|"):
                    raise UnusableClip("wav.scp gives a command, which is not run; give the file")
                yield ListedClip(number, name, text, speakers.get(id, ""), segment=segment)
            except UnusableClip as fault:
                yield FaultyRow(number, str(fault))


class LibriSpeech(ListFormat):
    """`84-121123.trans.txt` beside the audio of each chapter, a row `84-121123-0000 TEXT`; 84 is the speaker."""

    name = "librispeech"
    expected = f"files named *{TRANSCRIPT_SUFFIX} beside the audio"
    audio_folders = ("",)

    def recognises(self, path: Path) -> bool:
        return self.can_read(path)

    def recognises_folder(self, folder: Path) -> bool:
        return any(self.can_read(path) for path in visible_files(folder))

    def can_read(self, path: Path) -> bool:
        return path.name.endswith(TRANSCRIPT_SUFFIX)

    def describe(self, path: Path) -> str:
        return f"LibriSpeech {path.name}"

    def read(self, path: Path) -> Recordings:
        """Reads all chapters below a folder, or one transcript."""
        root = path if path.is_dir() else path.parent
        transcripts = [each for each in visible_files(root) if self.can_read(each)] if path.is_dir() else [path]
        if not transcripts or not all(self.can_read(each) for each in transcripts):
            raise not_in_format(path, self.name, self.expected)
        recordings = Recordings(self.name, printable(f"LibriSpeech {root.name}"))
        for transcript in transcripts:
            self.add_rows(recordings, transcript, root, AudioFinder(transcript.parent, self.audio_folders))
        return recordings

    def rows(self, path: Path, finder: AudioFinder) -> Iterator[ListedClip | FaultyRow]:
        for number, line in numbered_lines(path):
            try:
                id, _, text = decode_line(line).strip().partition(" ")
            except UnusableClip as fault:
                yield FaultyRow(number, str(fault))
                continue
            speaker = id.split("-")[0] if id.count("-") == 2 else ""
            yield ListedClip(number, id, text, speaker)


def _entries(path: Path) -> dict[str, str]:
    """What follows each line's first word, by that word; lines that cannot be decoded are as if they were not there."""
    entries: dict[str, str] = {}
    if path.is_file():
        for _, line in numbered_lines(path):
            try:
                key, *rest = decode_line(line).split(maxsplit=1)
            except UnusableClip:
                continue
            entries[key] = rest[0].strip() if rest else ""
    return entries


def _segment(entry: str) -> tuple[str, Segment]:
    """The recording and the part of it in one line of `segments`; an end of -1 is the end of the file."""
    cells = entry.split()
    if len(cells) != 3:
        raise UnusableClip("the line of segments should be an id, a recording, a start and an end")
    recording, start, end = cells
    return recording, Segment(time_sec(start, "start"), None if end == "-1" else time_sec(end, "end"))
