"""What the columns of a table are called: the names that datasets give to audio, text and speaker.

Of several columns for one thing, the one that is named first here counts: a normalized text before the text, for it is
what is spoken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

AUDIO_COLUMNS = (
    *("path", "file_name", "filename", "file", "file_path", "filepath", "audio_file", "audio_filepath", "audio_path"),
    *("audio", "wav", "wav_file", "wav_filename", "wav_path"),
    *("id", "file_id", "utt_id", "utterance_id", "clip_id"),
)
TEXT_COLUMNS = (
    *("normalized_text", "normalised_text", "text_normalized", "normalized_transcription", "normalized"),
    *("text", "transcription", "transcript", "sentence"),
)
SPEAKER_COLUMNS = ("speaker", "speaker_id", "speaker_name", "spk", "spk_id", "client_id", "voice")


@dataclass(frozen=True)
class Columns:
    """Names, as the table writes them, of the columns that are read; speaker None where there is none."""

    audio: str
    text: str
    speaker: str | None


def find_columns(names: Iterable[str]) -> Columns | None:
    """The columns among `names`, whatever their case and separators; None without audio or without text."""
    by_plain_name = {_plain(name): name for name in reversed(list(names))}
    audio, text, speaker = (_first(by_plain_name, known) for known in (AUDIO_COLUMNS, TEXT_COLUMNS, SPEAKER_COLUMNS))
    return None if audio is None or text is None else Columns(audio, text, speaker)


def _first(by_plain_name: dict[str, str], known: Sequence[str]) -> str | None:
    return next((by_plain_name[name] for name in known if name in by_plain_name), None)


def _plain(name: str) -> str:
    return "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())
