"""The training row, laid out as stock generation consumes it.

    [bos_before_voice?] [voice latents @ speaker_proj] [text embedding] [bos_emb] [latent 0] ... [latent n-1]

The output at `bos_emb` conditions the heads for frame 0, the output at latent n-1 those for frame n, the
first one past the end, whose EOS target is 1. Source: pocket_tts/models/tts_model.py
(`get_state_for_audio_prompt` feeds the voice, `_generate` the text, `_autoregressive_generation` the
latents); facts: row 8 of the official layout. Voice latents enter raw, target latents normalised. Rows are
right-padded: attention is causal, so padding after the audio reaches no valid position.
"""

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from torch import Tensor
from torch.nn import functional as F

from calm_ft.adapters.packing import outputs_of_segment, pack_segments


def assemble_rows(
    flow_lm: FlowLMModel,
    normalized_latents: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor,
    prompt_latents: Tensor,
    prompt_mask: Tensor,
) -> tuple[Tensor, Tensor]:
    """Concatenate each row's own segments without gaps.

    Args:
        normalized_latents: [B, T, C], the last frame of which is never an input (it lies past every end).
        text_tokens, text_mask: [B, S] int64 and bool; prompt_latents, prompt_mask: [B, P, C] and [B, P].

    Returns:
        rows [B, L, D] and prefix_lengths [B]: the index of `bos_emb` in each row.
    """
    num_rows, num_frames, _ = normalized_latents.shape
    bos = flow_lm.bos_emb.expand(num_rows, 1, -1)
    audio = flow_lm.input_linear(torch.cat([bos, normalized_latents[:, :-1]], dim=1))
    voice = F.linear(prompt_latents, flow_lm.speaker_proj_weight)
    segments = [voice, flow_lm.conditioner(text_tokens), audio]
    masks = [prompt_mask, text_mask, text_mask.new_ones(num_rows, num_frames)]
    if flow_lm.insert_bos_before_voice:
        segments.insert(0, flow_lm.bos_before_voice.expand(num_rows, 1, -1))
        masks.insert(0, text_mask.new_ones(num_rows, 1))
    packed = pack_segments(segments, masks)
    return packed.embeddings, packed.starts[-1]


def backbone_outputs(flow_lm: FlowLMModel, rows: Tensor, prefix_lengths: Tensor, num_frames: int) -> Tensor:
    """Teacher-forced backbone output z [B, T, D]: z[:, t] conditions the flow and EOS heads for frame t."""
    output = flow_lm.out_norm(flow_lm.transformer(rows, None))
    if flow_lm.z_proj is not None:
        output = flow_lm.z_proj(output)
    return outputs_of_segment(output, prefix_lengths, num_frames)
