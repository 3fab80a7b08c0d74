"""Strategies that learn the voice and leave every weight as it is: what a model is conditioned on trains instead.

The export is the base's own files with another voice. A checkpoint holds a few hundred numbers, or the prompt's.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping

from torch import Tensor

from calm_ft.adapters.base import Component, LearnsVoice, TTSAdapter
from calm_ft.data.feature_cache import Features
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import VOICE, ComponentPlan, Strategy

FAINT_OFFSET = 0.01  # beside embeddings of norm 1


class _VoiceStrategy(Strategy):
    """One part of what an adapter can learn of a voice."""

    part: str

    def __init__(self) -> None:
        """There is one part, so no rates of several."""
        super().__init__()

    def _may_select(self, part: Component) -> bool:
        return part.role == VOICE

    def select(self, components: Mapping[str, Component]) -> set[str]:
        return {self.part} & components.keys()

    def apply(self, adapter: TTSAdapter, lr: float) -> list[ComponentPlan]:
        """As of every strategy, after the part was added to the adapter, unless it is there.

        Raises UserError for a system of which no voice can be learned so, and for a loss that does not reach it.
        """
        if not isinstance(adapter, LearnsVoice):
            raise UserError(
                f"The strategy {type(self).__name__} learns what Chatterbox models are conditioned on, and "
                f"{adapter.name} is none: choose experiment=chatterbox_voice, or another strategy, such as lora."
            )
        self._add(adapter)
        if not adapter.components()[self.part].trainable:
            raise UserError(
                f"The strategy {type(self).__name__} trains {self.part}, which this objective does not reach: choose "
                "experiment=chatterbox_voice, or objective=chatterbox_t3."
            )
        return super().apply(adapter, lr)

    @abstractmethod
    def _add(self, adapter: LearnsVoice) -> None:
        """Add the part, unless it is there."""


class SpeakerOffset(_VoiceStrategy):
    """A vector that is added to the embedding of the speaker; zero at first, which is the base."""

    part = "voice.speaker_offset"

    def _add(self, adapter: LearnsVoice) -> None:
        adapter.learn_speaker_offset()

    def figures(self, adapter: TTSAdapter) -> dict[str, Tensor]:
        """speaker_offset_norm: beside embeddings of norm 1."""
        (offset,) = adapter.components()[self.part].module.parameters()
        return {"speaker_offset_norm": offset.detach().norm()}

    def warnings(self, adapter: TTSAdapter) -> list[str]:
        """Whether the offset is too small to matter."""
        norm = float(self.figures(adapter)["speaker_offset_norm"])
        if norm >= FAINT_OFFSET:
            return []
        return [
            f"the speaker offset has a norm of {norm:.2g} beside embeddings of norm 1, probably too little to be "
            "heard: raise optimizer.lr (experiment=chatterbox_voice has a rate for it) or trainer.max_steps"
        ]


class SoftVoicePrompt(_VoiceStrategy):
    """Embeddings that prompt the model in the place of a recording, begun with those of the speaker's own speech."""

    part = "voice.prompt"

    def __init__(self, num_tokens: int) -> None:
        """num_tokens: how long the prompt is; a prompt that a model comes with keeps its own length.

        Raises UserError for less than one.
        """
        super().__init__()
        if not isinstance(num_tokens, int) or isinstance(num_tokens, bool) or num_tokens < 1:
            raise UserError(f"strategy.num_tokens={num_tokens} must be an integer of at least 1.")
        self.num_tokens = num_tokens

    def _add(self, adapter: LearnsVoice) -> None:
        adapter.learn_prompt(self.num_tokens)

    def begin_with(self, adapter: TTSAdapter, clips: Iterable[Features]) -> None:
        """Begin with the prompts of the first training clips."""
        assert isinstance(adapter, LearnsVoice)
        adapter.start_prompt(clips)
