"""Voice prompts for training: another clip of the same speaker, or with word times the clip's own beginning.

A prompt from another clip needs no alignment, since nothing of it is to be spoken. Where the words' times are
known, the beginning of the clip can be the prompt and the rest of the text the target, as upstream trains
(training/dataloader/loader.py).
"""

from collections import defaultdict
from collections.abc import Sequence

import torch

from calm_ft.data.prepare import EncodedUtterance

# Fewer words leave no useful text behind the cut.
MIN_WORDS_FOR_OWN_BEGINNING = 4


class PromptPool:
    """The clips that prompts are drawn from, by speaker."""

    def __init__(self, encoded: Sequence[EncodedUtterance], own_beginnings: bool = True) -> None:
        """own_beginnings: whether a clip with word times is prompted by its own beginning."""
        self._own_beginnings = own_beginnings
        self._by_speaker: defaultdict[str, list[EncodedUtterance]] = defaultdict(list)
        self._places: dict[str, int] = {}
        for clip in encoded:
            same_speaker = self._by_speaker[clip.utterance.speaker]
            self._places[clip.utterance.id] = len(same_speaker)
            same_speaker.append(clip)

    @property
    def num_without_prompt(self) -> int:
        """Clips of the pool that have no prompt: their speaker's only clip, without word times."""
        lone = [clips[0] for clips in self._by_speaker.values() if len(clips) == 1]
        return sum(not self._has_own_beginning(clip) for clip in lone)

    def choose(self, utterance: EncodedUtterance, rng: torch.Generator) -> EncodedUtterance | None:
        """The clip itself if it has word times, else another of its speaker, all equally likely, else None.

        `utterance` need not be in the pool: validation clips are prompted from the training clips.
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
