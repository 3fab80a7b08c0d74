"""Rows made of segments without gaps, so that padding lies behind all that is valid, where causality keeps it out.

row i:  [segment 0 of i] [segment 1 of i] ... [padding]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedRows:
    """embeddings [B, L, D], L the longest row; starts: where each segment begins in each row, K times [B]."""

    embeddings: Tensor
    starts: list[Tensor]


def pack_segments(segments: Sequence[Tensor], masks: Sequence[Tensor], longest: int | None = None) -> PackedRows:
    """Concatenate each row's own segments.

    Args:
        segments: K tensors [B, S_k, D]; masks: K tensors [B, S_k] bool, True where valid.
        longest: at least the length of the longest row, where it is known: to read it off the masks, a GPU must have
            finished all that it was given.
    """
    padded, mask = torch.cat(list(segments), dim=1), torch.cat(list(masks), dim=1)
    # A stable sort by "is padding" closes the gaps between segments and keeps their order.
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    rows = padded.gather(1, order[..., None].expand_as(padded))
    lengths = torch.stack([each.sum(dim=1) for each in masks])
    ends = lengths.cumsum(dim=0)
    return PackedRows(rows[:, : int(ends[-1].max()) if longest is None else longest], list(ends - lengths))


def outputs_of_segment(outputs: Tensor, start: Tensor, num_positions: int) -> Tensor:
    """The outputs [B, num_positions, D] at `start` [B] and the positions after it; behind a row's end, its last one."""
    positions = (start[:, None] + torch.arange(num_positions, device=outputs.device)).clamp(max=outputs.shape[1] - 1)
    return outputs.gather(1, positions[..., None].expand(-1, -1, outputs.shape[-1]))
