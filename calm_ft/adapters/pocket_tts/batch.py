"""Collation: examples of encoded utterances to a padded batch, with one frame past the longest end.

That extra frame is what gives every row its EOS target; without it the longest row of a batch has none, and a
batch of equal lengths none at all (facts: pitfall 7 of the official code).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calm_ft.randomness import make_rng


@dataclass
class PocketTTSBatch:
    """One batch; masks are True where valid.

    latents [B, T, C] raw codec latents, T = longest + 1; num_frames [B]; text_tokens [B, S]; text_mask [B,
    S]; prompt_latents [B, P, C] raw; prompt_mask [B, P]; places: each row's index in the whole batch, of which
    this may be one process's share; prompt_ids: the other utterances that prompt some of the rows.
    """

    latents: Tensor
    num_frames: Tensor
    text_tokens: Tensor
    text_mask: Tensor
    prompt_latents: Tensor
    prompt_mask: Tensor
    utterance_ids: list[str]
    places: list[int]
    prompt_ids: list[str]

    @property
    def frame_mask(self) -> Tensor:
        """[B, T], True on the frames of each utterance."""
        return self._frame_index < self.num_frames[:, None]

    @property
    def eos_mask(self) -> Tensor:
        """[B, T], True where the EOS head is trained: all frames and the first one past the end."""
        return self._frame_index <= self.num_frames[:, None]

    @property
    def eos_target(self) -> Tensor:
        """[B, T], True on the first frame past the end: exactly one a row."""
        return self._frame_index == self.num_frames[:, None]

    @property
    def padding_share(self) -> Tensor:
        """Share of padding among the frames of the targets, each row padded to the longest; a scalar on the device."""
        return 1 - self.num_frames.sum() / (len(self.latents) * (self.latents.shape[1] - 1))

    @property
    def _frame_index(self) -> Tensor:
        return torch.arange(self.latents.shape[1], device=self.latents.device)[None]


@dataclass(frozen=True)
class Row:
    """One row before padding: latents [T, C], tokens, prompt latents [P, C] (P = 0 without a prompt).

    prompt_id: the utterance that the prompt is from, where it is another one.
    """

    utterance_id: str
    latents: Tensor
    tokens: list[int]
    prompt_latents: Tensor
    place: int
    prompt_id: str | None = None


def collate_rows(rows: list[Row], padding_token: int) -> PocketTTSBatch:
    """Right-pad rows to a batch; latents get one frame past the longest end."""
    num_frames = torch.tensor([len(row.latents) for row in rows])
    latents = rows[0].latents.new_zeros(len(rows), int(num_frames.max()) + 1, rows[0].latents.shape[-1])
    prompts = latents.new_zeros(len(rows), max(len(row.prompt_latents) for row in rows), latents.shape[-1])
    tokens = torch.full((len(rows), max(len(row.tokens) for row in rows)), padding_token)
    prompt_mask = torch.zeros(prompts.shape[:2], dtype=torch.bool)
    text_mask = torch.zeros(tokens.shape, dtype=torch.bool)
    for index, row in enumerate(rows):
        latents[index, : len(row.latents)] = row.latents
        prompts[index, : len(row.prompt_latents)] = row.prompt_latents
        prompt_mask[index, : len(row.prompt_latents)] = True
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        text_mask[index, : len(row.tokens)] = True
    ids, places = [row.utterance_id for row in rows], [row.place for row in rows]
    prompt_ids = [row.prompt_id for row in rows if row.prompt_id is not None]
    return PocketTTSBatch(latents, num_frames, tokens, text_mask, prompts, prompt_mask, ids, places, prompt_ids)


def drop_conditioning(batch: PocketTTSBatch, probability: float, seed: int) -> PocketTTSBatch:
    """Remove whole text and voice segments, each by itself with `probability` (classifier-free guidance).

    What a row draws is a function of (seed, its place).
    """
    draws = [torch.rand(2, generator=make_rng(seed, "conditioning_dropout", place)) for place in batch.places]
    keep = (torch.stack(draws, dim=1)[..., None] >= probability).to(batch.text_mask.device)
    return replace(batch, text_mask=batch.text_mask & keep[0], prompt_mask=batch.prompt_mask & keep[1])
