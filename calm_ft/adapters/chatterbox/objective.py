"""A training batch, and what trains on it: an objective for T3, one for S3Gen's flow, and both together.

T3 and the flow share no parameter, so together they train as they would alone, but for the clipping of the gradient.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from calm_ft.adapters.base import LossTerm
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features


@dataclass
class ChatterboxBatch:
    """One batch, right-padded.

    speech_tokens [B, T]; num_frames [B], speech tokens of each row; text_tokens [B, S] with start and stop; num_text
    [B]; speaker_embedding [B, 256], prompt_tokens [B, P], num_prompt [B] (0: no prompt) and x_vector [B, 192], of the
    clip that prompts; emotion [B]; mel [B, 2T, 80]; places: each row's index in the whole batch, of which this may be
    one process's share; prompt_ids: the other utterances that prompt some of the rows; kept [B, L, D]: what T3's frozen
    layers make of each row of which nothing is dropped, None where they are to run; learned_prompt [N, D]: embeddings
    that prompt all rows in the place of prompt_tokens, None where these are the prompt.
    """

    speech_tokens: Tensor
    num_frames: Tensor
    text_tokens: Tensor
    num_text: Tensor
    speaker_embedding: Tensor
    prompt_tokens: Tensor
    num_prompt: Tensor
    emotion: Tensor
    mel: Tensor
    x_vector: Tensor
    utterance_ids: list[str]
    places: list[int]
    prompt_ids: list[str]
    kept: Tensor | None = None
    learned_prompt: Tensor | None = None

    def to(self, device: torch.device) -> "ChatterboxBatch":
        """The same on a device."""
        moved: Any = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)

    @property
    def speech_mask(self) -> Tensor:
        """[B, T], True on the speech tokens of each utterance."""
        return valid(self.num_frames, self.speech_tokens.shape[1])

    @property
    def text_mask(self) -> Tensor:
        """[B, S], True on the text tokens of each utterance."""
        return valid(self.num_text, self.text_tokens.shape[1])

    @property
    def padding_share(self) -> Tensor:
        """Share of padding among the speech tokens, each row padded to the longest; a scalar on the device."""
        return 1 - self.num_frames.sum() / self.speech_tokens.numel()


def valid(lengths: Tensor, size: int) -> Tensor:
    """[B, size] bool, True on the first `lengths` [B] places of each row."""
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def collate(examples: Sequence[Example], texts: Sequence[Tensor], exaggeration: float) -> ChatterboxBatch:
    """A batch of examples and their texts' tokens, all of one emotion.

    What conditions a row is of the clip that prompts it, as at inference; a clip that has no other of its speaker is
    conditioned on its own embeddings, without prompt tokens, since these would tell it what to say.
    """
    targets = [example.target.features() for example in examples]
    prompts = [_prompt(example) for example in examples]
    voices = [target if prompt is None else prompt for target, prompt in zip(targets, prompts, strict=True)]
    speech = [target["speech_tokens"] for target in targets]
    prompt_tokens = [speech[0][:0] if prompt is None else prompt["prompt_tokens"] for prompt in prompts]
    return ChatterboxBatch(
        speech_tokens=pad_sequence(speech, batch_first=True),
        num_frames=_lengths(speech),
        text_tokens=pad_sequence(list(texts), batch_first=True),
        num_text=_lengths(texts),
        speaker_embedding=torch.stack([voice["speaker_embedding"] for voice in voices]),
        prompt_tokens=pad_sequence(prompt_tokens, batch_first=True),
        num_prompt=_lengths(prompt_tokens),
        emotion=torch.full((len(examples),), exaggeration),
        mel=pad_sequence([target["mel"] for target in targets], batch_first=True),
        x_vector=torch.stack([voice["x_vector"] for voice in voices]),
        utterance_ids=[example.target.utterance.id for example in examples],
        places=[example.place for example in examples],
        prompt_ids=[example.prompt.utterance.id for example in examples if example.prompt is not None],
    )


def _prompt(example: Example) -> Features | None:
    return None if example.prompt is None else example.prompt.features()


def _lengths(rows: Sequence[Tensor]) -> Tensor:
    return torch.tensor([len(row) for row in rows])


@dataclass
class Terms:
    """terms: what is minimised; parts: detached scalars to log."""

    terms: dict[str, LossTerm]
    parts: dict[str, Tensor]


class ChatterboxObjective(ABC):
    """A loss over a batch, with its unweighted residuals."""

    @abstractmethod
    def terms(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> Terms:
        """Loss terms; what a row draws is a function of (seed, its place)."""

    @abstractmethod
    def residuals(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> dict[str, Tensor]:
        """Means of each row [B], nothing dropped; the one named by `residual` is what runs compare by.

        What a row draws is a function of (seed, its utterance's id).
        """

    @abstractmethod
    def reaches(self, component: str) -> bool:
        """Whether the loss reaches a component."""


class Joint(ChatterboxObjective):
    """T3's objective and S3Gen's, added."""

    def __init__(self, t3: ChatterboxObjective, s3gen: ChatterboxObjective) -> None:
        self.objectives = [t3, s3gen]

    def terms(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> Terms:
        each = [objective.terms(models, batch, seed) for objective in self.objectives]
        return Terms(
            {name: term for one in each for name, term in one.terms.items()},
            {name: part for one in each for name, part in one.parts.items()},
        )

    def residuals(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> dict[str, Tensor]:
        each = [objective.residuals(models, batch, seed) for objective in self.objectives]
        joint = torch.stack([one["residual"] for one in each]).sum(dim=0)
        return {**{name: values for one in each for name, values in one.items()}, "residual": joint}

    def reaches(self, component: str) -> bool:
        return any(objective.reaches(component) for objective in self.objectives)
