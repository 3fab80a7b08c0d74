"""Which format a folder holds, told by its files: manifest.jsonl, else metadata.csv, else pairs."""

from pathlib import Path

from calm_ft.data.sources.audio_text_pairs import read_audio_text_pairs
from calm_ft.data.sources.ljspeech import read_ljspeech
from calm_ft.data.sources.manifest import read_manifest
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.utterance import commonest_reason
from calm_ft.errors import UserError


def read_recordings(path: Path) -> Recordings:
    """Reads a folder of recordings, or the manifest.jsonl or metadata.csv of one.

    Faults of single clips become exclusions. Raises `UserError` where nothing is left: a missing path, a file
    of another kind, an empty folder, no audio, no text, no good clip.
    """
    recordings = _read_any(Path(path))
    if not recordings.utterances:
        raise UserError(
            f"No clip in {path} can be used: {len(recordings.exclusions)} left out, "
            f"most often because {commonest_reason(recordings.exclusions)}."
        )
    return recordings


def _read_any(path: Path) -> Recordings:
    if not path.exists():
        raise UserError(f"There is no folder {path}; give the folder that holds the recordings.")
    if path.is_dir():
        if (path / "manifest.jsonl").is_file():
            return read_manifest(path / "manifest.jsonl")
        if (path / "metadata.csv").is_file():
            return read_ljspeech(path / "metadata.csv")
        return read_audio_text_pairs(path)
    if path.suffix.lower() == ".jsonl":
        return read_manifest(path)
    if path.suffix.lower() == ".csv":
        return read_ljspeech(path)
    raise UserError(f"{path} is a file; give the folder that holds the recordings, or its manifest.jsonl.")
