"""What an evaluation can be asked for; see conf/evaluation."""

from typing import Annotated

from pydantic import Field, field_validator

from calm_ft.adapters.playing import Playing
from calm_ft.metrics.recognisers import AUTO_ASR, PREFIX
from calm_ft.settings import NonNegativeNumber, PositiveInteger, PositiveNumber, Settings

Recogniser = Annotated[
    str,
    Field(
        pattern=r"[^:\s]\s*$",  # neither nothing nor the prefix alone
        description=f"a recogniser: auto, embedded, none, one of the hub, a folder, or {PREFIX} and one of its models",
    ),
]


class EvaluationSettings(Settings):
    """Settings of the group `evaluation`.

    Attributes:
        num_sentences: held-out sentences that base and tuned model say; 0 measures residuals alone.
        num_seeds: clips of each sentence, with other noise each.
        heldout_path: recordings to judge by; None takes the validation clips.
        base_voices: a folder with one folder of recordings a voice: voices that tuning may forget, and that the tuned
            one could be taken for.
        base_sentences: sentences said in each of them; 0 measures their residual alone.
        max_base_voices: at most so many of them are spoken in.
        every_n_steps: optimizer steps between evaluations while training; None: never.
        num_scored_sentences: how many of the sentences are said then.
        num_samples: how many of these have players and a spectrogram.
        max_time_share: an evaluation that would bring its share of the training's time above this is skipped.
        asr: the recogniser, as `recognisers.choose_recogniser` takes it.
        language: of the texts, an ISO 639-1 code; None: the model's.
        opinion_scores: UTMOS and DNSMOS too.
        temperature, num_steps, cfg_coef: how all of this is spoken, as `Playing` has it; None: as the model is played.
    """

    section = "evaluation"

    num_sentences: int = Field(default=8, ge=0)
    num_seeds: int = Field(default=1, ge=1)
    heldout_path: str | None = None
    base_voices: str | None = None
    base_sentences: int = Field(default=0, ge=0)
    max_base_voices: int = Field(default=8, ge=1)
    every_n_steps: int | None = Field(default=None, ge=1)
    num_scored_sentences: int = Field(default=8, ge=1)
    num_samples: int = Field(default=2, ge=0)
    max_time_share: float = Field(default=0.2, gt=0, le=1)
    asr: Recogniser = AUTO_ASR
    language: str | None = None
    opinion_scores: bool = False
    temperature: NonNegativeNumber | None = None
    num_steps: PositiveInteger | None = None
    cfg_coef: PositiveNumber | None = None

    @field_validator("every_n_steps", mode="before")
    @classmethod
    def _zero_is_never(cls, value: object) -> object:
        return None if value == 0 and not isinstance(value, bool) else value

    @property
    def playing(self) -> Playing:
        """How systems speak."""
        return Playing(temperature=self.temperature, num_steps=self.num_steps, cfg_coef=self.cfg_coef)

    @property
    def speaks_while_training(self) -> bool:
        """Whether there is anything to say, and a time for it."""
        return self.every_n_steps is not None and self.num_sentences > 0
