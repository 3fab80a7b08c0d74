"""Voice prompts for training: another clip of the same speaker, or the clip's own beginning if word times are known.

A prompt from another clip needs no alignment, because its text is not part of the target. With word times, the
beginning of the clip can be the prompt and the rest of it the target, as in upstream's training
(training/dataloader/loader.py).
"""

from collections import defaultdict
from collections.abc import Sequence

import torch

from calm_ft.data.prepare import EncodedUtterance

# With fewer words there is no useful text after the cut.
MIN_WORDS_FOR_OWN_BEGINNING = 4


class PromptPool:
    """The clips that prompts are drawn from, by speaker."""

    def __init__(self, encoded: Sequence[EncodedUtterance], own_beginnings: bool = True) -> None:
        """own_beginnings: whether the prompt of a clip with word times is its own beginning."""
        self._own_beginnings = own_beginnings
        self._by_speaker: defaultdict[str, list[EncodedUtterance]] = defaultdict(list)
        self._places: dict[str, int] = {}
        for clip in encoded:
            same_speaker = self._by_speaker[clip.utterance.speaker]
            self._places[clip.utterance.id] = len(same_speaker)
            same_speaker.append(clip)

    @property
    def num_without_prompt(self) -> int:
        """Number of clips without a prompt: the only clip of their speaker, and without word times."""
        lone = [clips[0] for clips in self._by_speaker.values() if len(clips) == 1]
        return sum(not self._has_own_beginning(clip) for clip in lone)

    def choose(self, utterance: EncodedUtterance, rng: torch.Generator) -> EncodedUtterance | None:
        """The clip itself if it has word times, else a random other clip of its speaker, or None if there is none.

        `utterance` need not be in the pool: the prompts of validation clips are training clips.
        """
        if self._has_own_beginning(utterance):
            return utterance
        clips = self._by_speaker.get(utterance.utterance.speaker, [])
        own_place = self._places.get(utterance.utterance.id, len(clips))
        num_others = len(clips) - (own_place < len(clips))
        if num_others == 0:
            return None
        place = int(torch.randint(num_others, (), generator=rng))
        return clips[place + (place >= own_place)]

    def _has_own_beginning(self, clip: EncodedUtterance) -> bool:
        words = clip.utterance.words if self._own_beginnings else None
        return words is not None and len(words) >= MIN_WORDS_FOR_OWN_BEGINNING
