"""Which sentences are said, and which recording prompts the voice: fixed choices that decode only what they use."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Exclusion, Utterance
from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import read_wav_bytes, wav_bytes
from calm_ft.metrics.base import NotMeasured, SpeechClip
from calm_ft.metrics.sound import Sound

TAIL_SEC = 0.2
MAX_PROMPT_SEC = 10.0
_NUM_PROMPTS_HEARD = 8
_MAX_END_DB, _MAX_CLIPPED_SHARE, _MAX_SILENCE_SHARE = -20.0, 1e-3, 0.5

UtteranceT = TypeVar("UtteranceT", bound=Utterance)


def choose_sentences(utterances: Sequence[UtteranceT], num_sentences: int, seed: int) -> list[UtteranceT]:
    """A fixed choice of held-out utterances, each text once, the smallest hash of (seed, text) first.

    Not the first ones of the list, for lists are often sorted. A smaller choice is the beginning of a larger one, so
    that an evaluation of more sentences takes over what one of fewer said.
    """
    by_text = {utterance.text: utterance for utterance in reversed(utterances)}
    ranked = sorted(by_text, key=lambda text: hashlib.sha256(f"{seed}:{text}".encode()).digest())
    return [by_text[text] for text in ranked[:num_sentences]]


@dataclass(frozen=True)
class ChosenClips:
    """Chosen utterances with their recordings [T], and those that were passed over because they cannot be used."""

    utterances: list[Utterance]
    recordings: list[Tensor]
    excluded: list[Exclusion]

    @property
    def texts(self) -> list[str]:
        """What they say."""
        return [each.text for each in self.utterances]


def choose_usable(found: Sequence[Utterance], adapter: TTSAdapter, num_sentences: int, seed: int) -> ChosenClips:
    """At most `num_sentences`; only the chosen are decoded, and others take the places of those that are broken."""
    recordings: dict[str, Tensor] = {}
    excluded: dict[str, Exclusion] = {}
    while True:
        chosen = choose_sentences([each for each in found if each.id not in excluded], num_sentences, seed)
        new = [each for each in chosen if each.id not in recordings]
        for utterance in new:
            try:
                adapter.check_text(utterance.text)
                recordings[utterance.id] = load_clip(utterance, adapter.sample_rate_hz, TAIL_SEC).samples
            except (UserError, UnusableClip) as error:
                excluded[utterance.id] = Exclusion(str(utterance.audio_path), str(error))
        if all(each.id in recordings for each in chosen):
            return ChosenClips(chosen, [recordings[each.id] for each in chosen], list(excluded.values()))


def load_recording(utterance: Utterance, sample_rate_hz: int) -> Tensor:
    """A recording [T] as it is judged by. Raises UserError where it cannot be used."""
    try:
        return load_clip(utterance, sample_rate_hz, TAIL_SEC).samples
    except UnusableClip as error:
        raise UserError(f"{utterance.audio_path} cannot be used for the evaluation: {error}.") from error


@dataclass(frozen=True)
class VoicePrompt:
    """The recording that stands for a voice: where it lies, and its samples [T], at most `MAX_PROMPT_SEC` of them."""

    utterance: Utterance
    samples: Tensor


def choose_prompt(clips: Sequence[EncodedUtterance], sample_rate_hz: int) -> VoicePrompt:
    """The longest sound clip of at most 10 s of the speaker who says most; a longer prompt says more about the voice.

    Durations are known from the cache, so that only candidates are decoded, the longest first: one that is clipped,
    half silent or loud to its very end (cut in a word) is passed over where there is a better one among the first
    eight. Where every clip is longer than 10 s, the beginning of the shortest is taken.

    Raises UserError where the clip cannot be read any more.
    """
    candidates = sorted(_of_main_speaker(clips), key=lambda clip: (_rank(clip.duration_sec), clip.utterance.id))
    limit = int(MAX_PROMPT_SEC * sample_rate_hz)
    first: VoicePrompt | None = None
    for clip in candidates[:_NUM_PROMPTS_HEARD]:
        samples = load_recording(clip.utterance, sample_rate_hz)[:limit]
        prompt = VoicePrompt(clip.utterance, read_prompt(wav_bytes(samples, sample_rate_hz)))
        if _is_sound(clip.utterance, sample_rate_hz):
            return prompt
        first = first or prompt
    assert first is not None
    return first


def read_prompt(wav: bytes) -> Tensor:
    """The samples [T] of a voice prompt as its file holds them: a run and later evaluations of it use the same bits."""
    return torch.from_numpy(read_wav_bytes(wav).astype(np.float32))


def longest_prompt(recordings: Sequence[Tensor], sample_rate_hz: int) -> int:
    """Which of some recordings [T] prompts: the longest of at most 10 s; where all are longer, the shortest."""
    ranks = [_rank(len(each) / sample_rate_hz) for each in recordings]
    return ranks.index(min(ranks))


def _rank(duration_sec: float) -> tuple[bool, float]:
    is_long = duration_sec > MAX_PROMPT_SEC
    return is_long, duration_sec if is_long else -duration_sec


def _of_main_speaker(clips: Sequence[EncodedUtterance]) -> list[EncodedUtterance]:
    seconds: dict[str | None, float] = {}
    for clip in clips:
        seconds[clip.utterance.speaker] = seconds.get(clip.utterance.speaker, 0.0) + clip.duration_sec
    speaker = max(seconds, key=lambda name: seconds[name])
    return [clip for clip in clips if clip.utterance.speaker == speaker]


def _is_sound(utterance: Utterance, sample_rate_hz: int) -> bool:
    # Without a tail: the silence that it adds would hide a word that was cut.
    samples = np.asarray(load_clip(utterance, sample_rate_hz, tail_sec=0.0).samples)
    heard = Sound().measure(SpeechClip(samples, sample_rate_hz, utterance.text))
    end_db, clipped, silence = (heard[name] for name in ("end_level_db", "clipped_share", "silence_share"))
    if isinstance(end_db, NotMeasured) or isinstance(clipped, NotMeasured) or isinstance(silence, NotMeasured):
        return False
    return end_db <= _MAX_END_DB and clipped <= _MAX_CLIPPED_SHARE and silence <= _MAX_SILENCE_SHARE
