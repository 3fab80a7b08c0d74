"""Base voices: voices that a run is not tuned to, known by a folder with one folder of recordings a voice.

They answer three questions: what tuning forgets (their residual, and speech in them before and after), and whether the
tuned voice could be taken for another. Of each voice a few recordings are used: for speech the best of
them prompts, and the others' sentences are said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Exclusion, Utterance, commonest_reason
from calm_ft.errors import UserError
from calm_ft.evaluation.clips import Spoken, recorded
from calm_ft.evaluation.sentences import choose_usable
from calm_ft.evaluation.voice_prompt import best_prompt
from calm_ft.report.result import REFERENCE

NUM_RESIDUAL_CLIPS = 6  # so that a voice with many recordings does not drown the others
NUM_IDENTIFYING_CLIPS = 12


def read_voice_folders(path: str | Path, setting: str) -> dict[str, list[Utterance]]:
    """Voice (its folder's name) -> its recordings, ids and speakers made unlike those of the other voices.

    Raises UserError, naming the setting, where there is no such folder or no voice in it.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"{setting}={folder} is not a folder: give one with a folder for each voice.")
    voices = {
        each.name: [
            replace(clip, id=f"{each.name}/{clip.id}", speaker=each.name) for clip in read_recordings(each).utterances
        ]
        for each in sorted(folder.iterdir())
        if each.is_dir()
    }
    if not voices:
        raise UserError(f"{setting}={folder} holds no folder: give one with a folder of recordings for each voice.")
    return voices


def recordings_to_identify_by(
    voices: Mapping[str, Sequence[Utterance]], adapter: TTSAdapter, seed: int
) -> dict[str, list[np.ndarray]]:
    """Some recordings [T] of each voice; a voice without two that can be used is left out."""
    found = {}
    for name, utterances in voices.items():
        usable = choose_usable(utterances, adapter, NUM_IDENTIFYING_CLIPS, seed)
        if len(usable.recordings) > 1:
            found[name] = [np.asarray(each) for each in usable.recordings]
    return found


@dataclass(frozen=True)
class BaseVoice:
    """A voice's prompt [T] and the recordings of its sentences, by an index that no other voice's sentences have."""

    name: str
    prompt: Tensor
    references: dict[int, Spoken]


@dataclass(frozen=True)
class BaseVoices:
    """Those that are spoken in, or the reason why there are none; what of their recordings was left out."""

    voices: list[BaseVoice]
    reason: str = ""
    excluded: tuple[Exclusion, ...] = ()


def choose_base_voices(
    found: Mapping[str, Sequence[Utterance]], adapter: TTSAdapter, num_sentences: int, max_voices: int, seed: int
) -> BaseVoices:
    """Choose and decode what is to be said in which voices; those that cannot be used are passed over.

    Raises UserError where none can be used.
    """
    voices: list[BaseVoice] = []
    excluded: list[Exclusion] = []
    rate_hz, first = adapter.sample_rate_hz, 0
    for name, utterances in found.items():
        if len(voices) == max_voices:
            break
        usable = choose_usable(utterances, adapter, num_sentences + 1, seed)
        excluded += usable.excluded
        if len(usable.recordings) < 2:
            excluded.append(Exclusion(name, "a voice needs two recordings: one prompts, another is said"))
            continue
        prompt = best_prompt(usable.recordings, rate_hz, adapter.usual_voice_sec)
        heard = _long_enough(usable.recordings[prompt], usable.utterances, utterances, adapter)
        if len(heard) < adapter.min_voice_sec * rate_hz:
            excluded.append(Exclusion(name, f"{len(heard) / rate_hz:.1f} s are too short for a voice prompt"))
            continue
        said = [pair for n, pair in enumerate(zip(usable.texts, usable.recordings, strict=True)) if n != prompt]
        references = {
            index: recorded(REFERENCE, index, text, audio, rate_hz, name)
            for index, (text, audio) in enumerate(said, start=first)
        }
        first += len(said)
        voices.append(BaseVoice(name, heard, references))
    if not voices:
        why = commonest_reason(excluded) if excluded else "they are not in the folder"
        raise UserError(f"None of the base voices {', '.join(found)} can be used ({why}): give other recordings.")
    return BaseVoices(voices, "", tuple(excluded))


def _long_enough(
    prompt: Tensor, used: Sequence[Utterance], utterances: Sequence[Utterance], adapter: TTSAdapter
) -> Tensor:
    """A prompt [T] with recordings that are not said behind it, until it is as long as the system needs."""
    shortest = adapter.min_voice_sec * adapter.sample_rate_hz
    known = {each.id for each in used}
    for utterance in utterances:
        if len(prompt) >= shortest:
            break
        if utterance.id not in known:
            spare = choose_usable([utterance], adapter, 1, seed=0).recordings
            prompt = torch.cat([prompt, *spare])
    return prompt
