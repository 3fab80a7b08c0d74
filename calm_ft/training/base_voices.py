"""Base voices: clips of voices that a run is not tuned to, whose validation residual says what tuning forgets.

They come from a folder with one folder of recordings a voice, or else from the validation clips of replayed sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.prompts import PromptPool
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.training.datamodule import validation_loader
from calm_ft.training.settings import DataSettings

MAX_CLIPS_EACH = 6  # so that a voice with many recordings does not drown the others
NO_BASE_VOICES = (
    "not measured: there is no other voice to measure it on; give evaluation.base_voices_path, a folder with a folder "
    "of recordings for each voice, or replay some"
)


@dataclass(frozen=True)
class BaseVoices:
    """The voices' names, how many clips they have together, and their validation batches."""

    names: tuple[str, ...]
    num_clips: int
    batches: DataLoader[Any]


def read_voice_folders(path: str, setting: str) -> dict[str, list[Utterance]]:
    """Voice (its folder's name) -> its recordings.

    Raises UserError, naming the setting, where there is no such folder or no voice in it.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"{setting}={folder} is not a folder: give one with a folder for each voice.")
    voices = {each.name: read_recordings(each).utterances for each in sorted(folder.iterdir()) if each.is_dir()}
    if not voices:
        raise UserError(f"{setting}={folder} holds no folder: give one with a folder of recordings for each voice.")
    return voices


def read_base_voices(path: str | None, names: Sequence[str] | None) -> list[Utterance]:
    """The first clips of each voice named (None: of all), the voice as their speaker; none without a path.

    Raises UserError where the folder or a voice is missing.
    """
    if path is None:
        return []
    voices = read_voice_folders(path, "evaluation.base_voices_path")
    for name in names or ():
        if name not in voices:
            raise UserError(
                f"evaluation.base_voices names {name}, which {path} lacks: set it to some of {', '.join(voices)}, or "
                "to null for all of them."
            )
    return [
        replace(clip, id=f"{name}/{clip.id}", speaker=name)  # ids are unique in one folder only
        for name in names or voices
        for clip in voices[name][:MAX_CLIPS_EACH]
    ]


def prepare_base_voices(
    utterances: Sequence[Utterance],
    replayed: Sequence[EncodedUtterance],
    pool: PromptPool,
    adapter: TTSAdapter,
    data: DataSettings,
    seed: int,
) -> BaseVoices | None:
    """Encode what was read (once: it is cached); without it take the replayed clips, or None without these.

    Args:
        replayed: validation clips of replayed sources.
        pool: what those are prompted from.

    Raises UserError where no clip can be encoded.
    """
    clips = list(replayed)
    if utterances:
        clips = encode(utterances, adapter, data)
        pool = PromptPool(clips, adapter.prompts_from_own_beginning)
    if not clips:
        return None
    names = tuple(dict.fromkeys(clip.utterance.speaker for clip in clips))
    return BaseVoices(names, len(clips), validation_loader(clips, pool, adapter, data, seed))


def encode(utterances: Sequence[Utterance], adapter: TTSAdapter, data: DataSettings) -> list[EncodedUtterance]:
    """The clips that can be used, encoded as training clips are.

    Raises UserError where there is none.
    """
    cache = Path(data.cache_dir).expanduser()
    limits = (data.tail_sec, data.max_duration_sec)
    return encode_recordings(utterances, adapter, cache, *limits, progress=False).encoded
