"""Collation: examples of encoded utterances to a padded batch, from which each objective takes what it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features


@dataclass
class ChatterboxBatch:
    """One batch, right-padded.

    speech_tokens [B, T]; num_frames [B], speech tokens of each row; text_tokens [B, S] with start and stop; num_text
    [B]; speaker_embedding [B, 256], prompt_tokens [B, P], num_prompt [B] (0: no prompt) and x_vector [B, 192], of the
    clip that prompts; emotion [B]; mel [B, 2T, 80]; places: each row's index in the whole batch, of which this may be
    one process's share; prompt_ids: the other utterances that prompt some of the rows.
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
