"""S3Gen's token encoder without what padding leaks into a row's last frames.

Upstream's look-ahead layer sees three tokens ahead: at the end of a single row zeros, but in a batch what the embedding
makes of padding, which is not zero. Here padding is zeroed before that layer; the rest is causal or masked.
Source: chatterbox/models/s3gen/transformer/upsample_encoder.py (`UpsampleConformerEncoder.forward`).
"""

import torch
from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
from chatterbox.models.s3gen.transformer.upsample_encoder import UpsampleConformerEncoder
from torch import Tensor
from torch.nn import functional as F

from calm_ft.adapters.chatterbox.batch import valid


def encode_tokens(flow: CausalMaskedDiffWithXvec, tokens: Tensor, num_tokens: Tensor) -> Tensor:
    """Speech tokens [B, T] to what conditions the flow at each mel frame [B, 80, 2T]."""
    mask = valid(num_tokens, tokens.shape[1])
    embedded = flow.input_embedding(tokens) * mask[..., None]
    return flow.encoder_proj(_upsampled(flow.encoder, embedded, num_tokens)).transpose(1, 2)


def voice_condition(flow: CausalMaskedDiffWithXvec, x_vectors: Tensor) -> Tensor:
    """x-vectors [B, 192] to the flow's speaker condition [B, 80]."""
    return flow.spk_embed_affine_layer(F.normalize(x_vectors, dim=1))


def _upsampled(encoder: UpsampleConformerEncoder, inputs: Tensor, num_tokens: Tensor) -> Tensor:
    """[B, T, C] to [B, 2T, C']."""
    mask = valid(num_tokens, inputs.shape[1])[:, None]
    hidden, positions, _ = encoder.embed(inputs, mask)
    hidden = encoder.pre_lookahead_layer(hidden * mask.transpose(1, 2))
    hidden = encoder.forward_layers(hidden, mask, positions, mask)
    hidden, num_frames = encoder.up_layer(hidden.transpose(1, 2).contiguous(), num_tokens)
    hidden = hidden.transpose(1, 2).contiguous()
    mask = valid(num_frames, hidden.shape[1])[:, None]
    hidden, positions, _ = encoder.up_embed(hidden, mask)
    hidden = encoder.forward_up_layers(hidden, mask, positions, mask)
    return encoder.after_norm(hidden) if encoder.normalize_before else hidden


def padding_mask(num_frames: Tensor, size: int) -> Tensor:
    """[B, 1, size] float, 1 on each row's frames: what upstream's estimator takes."""
    return valid(num_frames, size)[:, None].to(torch.get_default_dtype())
