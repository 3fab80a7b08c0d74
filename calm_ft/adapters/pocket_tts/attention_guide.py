"""Teaches one attention head to look at the word that is being said, from word times.

A model that starts from random weights learns late which part of the text it is to say next. Tachibana et al. 2018
("Efficiently Trainable Text-to-Speech System Based on Deep Convolutional Networks with Guided Attention", section 4)
draw attention to the diagonal; here the times of the words are known, so the loss is the negative logarithm of the
attention that the right word gets.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from pocket_tts.modules.attention import StreamingMultiheadAttention
from pocket_tts.modules.transformer import StreamingTransformer
from torch import Tensor, nn

from calm_ft.adapters.packing import outputs_of_segment
from calm_ft.data.utterance import WordTime

NO_WORD = -1


def guided_layer(transformer: StreamingTransformer) -> StreamingMultiheadAttention:
    """The attention whose first head is guided: that of the middle layer."""
    layers = transformer.layers
    attention: StreamingMultiheadAttention = layers[(len(layers) - 1) // 2].self_attn
    return attention


@contextmanager
def projections_of(attention: StreamingMultiheadAttention) -> Iterator[list[Tensor]]:
    """Collects what the attention's input projection gives while the context lasts, [B, L, query + key + value]."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output)

    handle = attention.in_proj.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def text_attention(
    attention: StreamingMultiheadAttention,
    projected: Tensor,
    text_starts: Tensor,
    num_tokens: int,
    audio_starts: Tensor,
    num_frames: int,
) -> Tensor:
    """Log-probabilities [B, T, S] with which the first head looks at token s while frame t is predicted.

    projected: [B, L, query + key + value] of causal rows; text_starts, audio_starts: [B], where the tokens begin and
    from where the first frame is predicted. Columns past a row's own text are not to be read.
    """
    size = attention.dim_per_head
    query, key = (projected[..., None, first : first + size] for first in (0, attention.attn_dim))
    query, key = (each.squeeze(2).float() for each in attention.rope(query, key, 0))
    frames = outputs_of_segment(query, audio_starts, num_frames)
    scores = frames @ key.mT / math.sqrt(size)
    places = torch.arange(key.shape[1], device=key.device)
    asking = audio_starts[:, None] + torch.arange(num_frames, device=key.device)
    log_probabilities = scores.masked_fill(places > asking[..., None], -math.inf).log_softmax(dim=-1)
    columns = text_starts[:, None] + torch.arange(num_tokens, device=key.device)
    columns = columns.clamp(max=key.shape[1] - 1)[:, None].expand(-1, num_frames, -1)
    return log_probabilities.gather(2, columns)


def guide_losses(log_attention: Tensor, said: Tensor) -> Tensor:
    """-log of the attention that the said word's tokens get together, [N], for the N frames that say one.

    log_attention: [B, T, S]; said: [B, T, 2], first token and the one past the last, or NO_WORD.
    """
    says = said[..., 0] != NO_WORD
    tokens = torch.arange(log_attention.shape[-1], device=said.device)
    bounds = said[says]
    outside = (tokens < bounds[:, :1]) | (tokens >= bounds[:, 1:])
    return -log_attention[says].masked_fill(outside, -math.inf).logsumexp(dim=-1)


def tokens_said(
    words: Sequence[WordTime], token_spans: Sequence[tuple[int, int]], num_frames: int, frame_rate_hz: float
) -> Tensor:
    """[T, 2] int64: the tokens (first, one past the last) of the word said in the middle of each frame, or NO_WORD.

    words: times from the start of the first frame, perhaps several words to an entry; token_spans: the tokens of each
    word of the text. Where their numbers differ no frame says a word.
    """
    said = torch.full((num_frames, 2), NO_WORD)
    sizes = [len(word.word.split()) for word in words]
    if sum(sizes) != len(token_spans) or 0 in sizes:
        return said
    middles = (torch.arange(num_frames) + 0.5) / frame_rate_hz
    first = 0
    for word, size in zip(words, sizes, strict=True):
        inside = (middles >= word.start_sec) & (middles < word.end_sec)
        said[inside] = torch.tensor([token_spans[first][0], token_spans[first + size - 1][1]])
        first += size
    return said
