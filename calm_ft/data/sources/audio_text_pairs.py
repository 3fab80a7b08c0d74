"""Folders of `clip.wav` beside `clip.txt`, at any depth: the text file holds what the recording says."""

from pathlib import Path

from calm_ft.data.sources.recordings import (
    AUDIO_SUFFIXES,
    FOREIGN_AUDIO_SUFFIXES,
    Recordings,
    UnusableText,
    checked_text,
    clip_id,
    decode_line,
    is_audio,
    visible_files,
)
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError

LISTING_SUFFIXES = (".csv", ".tsv", ".jsonl")


def read_audio_text_pairs(folder: Path) -> Recordings:
    """Reads all audio with a `.txt` of the same name; raises `UserError` without any of either."""
    files = visible_files(folder)
    audio_paths = [path for path in files if is_audio(path)]
    foreign = {clip_id(path, folder): path for path in files if path.suffix.lower() in FOREIGN_AUDIO_SUFFIXES}
    texts = {clip_id(path, folder): path for path in files if path.suffix.lower() == ".txt"}
    _check_both_kinds(folder, files, audio_paths, texts)

    recordings = Recordings("pairs", "audio-text pairs")
    for audio_path in audio_paths:
        _add_pair(recordings, clip_id(audio_path, folder), audio_path, texts)
    known_ids = {clip_id(path, folder) for path in audio_paths}
    for path in (path for id, path in foreign.items() if id not in known_ids):
        recordings.exclude(path, f"{path.suffix} audio cannot be read; convert it to wav or flac")
    spoken_ids = known_ids | foreign.keys()
    for path in (path for id, path in texts.items() if id not in spoken_ids):
        recordings.exclude(path, "there is no audio file of this name beside the text")
    return recordings


def _add_pair(recordings: Recordings, id: str, audio_path: Path, texts: dict[str, Path]) -> None:
    if id not in texts:
        recordings.exclude(audio_path, "there is no .txt file of this name beside the audio")
        return
    try:
        text = checked_text(decode_line(texts[id].read_bytes()))
    except UnusableText as fault:
        recordings.exclude(audio_path, str(fault))
        return
    recordings.add(Utterance(id, audio_path, text, speaker=""), str(audio_path))


def _check_both_kinds(folder: Path, files: list[Path], audio: list[Path], texts: dict[str, Path]) -> None:
    if not files:
        raise UserError(f"The folder {folder} is empty; put recordings there, clip.wav beside clip.txt.")
    if not audio:
        kinds = ", ".join(suffix.removeprefix(".") for suffix in AUDIO_SUFFIXES)
        raise UserError(f"The folder {folder} holds no audio; recordings must be {kinds} files.")
    if not texts:
        listings = [path for path in files if path.suffix.lower() in LISTING_SUFFIXES]
        way_out = (
            f"point at {listings[0].parent} instead, where {listings[0].name} lies"
            if listings
            else "put what is said in each clip.wav into a clip.txt beside it, or all into a metadata.csv"
        )
        raise UserError(f"The folder {folder} holds {len(audio)} audio files but no text; {way_out}.")
