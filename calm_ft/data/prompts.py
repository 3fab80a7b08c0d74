"""Voice prompts for training: another clip of the same speaker, or the clip's own beginning where the model can cut it.

A prompt from another clip needs no alignment, because its text is not part of the target. With word times, the
beginning of the clip can be the prompt and the rest of it the target, as in upstream's training
(training/dataloader/loader.py). Upstream takes a window of the target itself where no boundary will do; here another
clip is the prompt, so that no row can copy what it is to say.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from calm_ft.data.prepare import EncodedUtterance


class PromptPool:
    """The clips that prompts are drawn from, by speaker."""

    def __init__(
        self, encoded: Sequence[EncodedUtterance], prompts_itself: Callable[[EncodedUtterance], bool] | None = None
    ) -> None:
        """prompts_itself: whether a clip's own beginning is its prompt; None: no clip's is."""
        self._own_beginning = prompts_itself
        self._by_speaker: defaultdict[str, list[EncodedUtterance]] = defaultdict(list)
        self._places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for clip in encoded:
            speaker = clip.utterance.speaker
            self._places[speaker, clip.key].append(len(self._by_speaker[speaker]))
            self._by_speaker[speaker].append(clip)

    @property
    def num_without_prompt(self) -> int:
        """Number of clips without a prompt: all there is of their speaker, and none that prompts itself."""
        lone = (clips for clips in self._by_speaker.values() if len({clip.key for clip in clips}) == 1)
        return sum(not self._prompts_itself(clip) for clips in lone for clip in clips)

    def choose(self, utterance: EncodedUtterance, rng: torch.Generator) -> EncodedUtterance | None:
        """The clip itself if it prompts itself, else a random other clip of its speaker, or None if there is none.

        `utterance` need not be in the pool: the prompts of validation clips are training clips. The same audio under
        another name (equal keys) is no other clip, for it would tell the model what to say.
        """
        if self._prompts_itself(utterance):
            return utterance
        speaker = utterance.utterance.speaker
        clips, own_places = self._by_speaker.get(speaker, []), self._places.get((speaker, utterance.key), [])
        num_others = len(clips) - len(own_places)
        if num_others == 0:
            return None
        place = int(torch.randint(num_others, (), generator=rng))
        for own_place in own_places:  # in ascending order
            place += place >= own_place
        return clips[place]

    def _prompts_itself(self, clip: EncodedUtterance) -> bool:
        return self._own_beginning is not None and self._own_beginning(clip)
