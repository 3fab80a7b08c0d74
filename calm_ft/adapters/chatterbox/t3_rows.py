"""T3's teacher-forced rows, laid out as stock generation consumes them.

    [speaker 1][prompt: 32 perceiver tokens][emotion 1] [start text ... stop] [start (start) speech 0 ... speech n-1]

`T3.forward` pads the text between text and speech, where no mask hides it: three pads change the speech logits by 0.34.
Here each row's segments stand without gaps and padding comes last, where causality keeps it out.
Sources: chatterbox/models/t3/t3.py (`prepare_input_embeds`, `inference`), chatterbox/tts.py (`generate`).
"""

from dataclasses import dataclass

import torch
from chatterbox.models.t3 import T3
from chatterbox.models.t3.modules.cond_enc import T3Cond
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from calm_ft.adapters.chatterbox.batch import ChatterboxBatch, valid
from calm_ft.adapters.packing import outputs_of_segment, pack_segments


@dataclass
class T3Outputs:
    """text [B, S-1, D] and speech [B, T+1, D]: place s predicts text token s+1, place t speech token t.

    Behind the last speech token comes the stop token.
    """

    text: Tensor
    speech: Tensor


def t3_outputs(
    t3: T3, batch: ChatterboxBatch, double_start: bool, keep_text: Tensor, keep_condition: Tensor
) -> T3Outputs:
    """Outputs of the backbone over packed rows.

    Args:
        double_start: the start of speech stands twice, as in stock generation.
        keep_text: [B] bool; where False the text's embeddings are zero before positions are added, as in the
            unconditional branch of stock guidance; keep_condition: [B] bool; where False the row begins with its text,
            for zeros in the place of speaker, prompt and emotion would stay zeros through all layers, and every norm
            would multiply their gradients by 300.
    """
    condition, num_condition = _condition(t3, batch)
    num_condition = num_condition * keep_condition
    text = t3.text_emb(batch.text_tokens) * keep_text[:, None, None] + t3.text_pos_emb(batch.text_tokens)
    speech, num_starts = _speech_inputs(t3, batch, double_start), 1 + double_start
    masks = [
        valid(num_condition, condition.shape[1]),
        batch.text_mask,
        valid(batch.num_frames + num_starts, speech.shape[1]),
    ]
    packed = pack_segments([condition, text, speech], masks)
    outputs = t3.tfmr(inputs_embeds=packed.embeddings, use_cache=False).last_hidden_state
    _, text_start, speech_start = packed.starts
    return T3Outputs(
        outputs_of_segment(outputs, text_start, batch.text_tokens.shape[1] - 1),
        outputs_of_segment(outputs, speech_start + num_starts - 1, batch.speech_tokens.shape[1] + 1),
    )


def speech_targets(t3: T3, batch: ChatterboxBatch) -> tuple[Tensor, Tensor]:
    """(targets, mask) [B, T+1]: the speech tokens and, behind the last one, the stop token."""
    places = torch.arange(batch.speech_tokens.shape[1] + 1, device=batch.num_frames.device)[None]
    padded = torch.cat([batch.speech_tokens, batch.speech_tokens[:, :1]], dim=1)
    targets = padded.masked_fill(places == batch.num_frames[:, None], t3.hp.stop_speech_token)
    return targets, places <= batch.num_frames[:, None]


def _condition(t3: T3, batch: ChatterboxBatch) -> tuple[Tensor, Tensor]:
    """([B, C, D], lengths [B]): row by row, for the perceiver knows no mask and would hear a prompt's padding.

    Each with a T3Cond of its own, since upstream keeps a prompt's embeddings in it.
    """
    rows = [
        t3.prepare_conditioning(
            T3Cond(
                speaker_emb=batch.speaker_embedding[i : i + 1],
                cond_prompt_speech_tokens=batch.prompt_tokens[i : i + 1, :length] if length else None,
                emotion_adv=batch.emotion[i].view(1, 1, 1),
            )
        )[0]
        for i, length in enumerate(batch.num_prompt.tolist())
    ]
    lengths = torch.tensor([len(row) for row in rows], device=batch.num_frames.device)
    return pad_sequence(rows, batch_first=True), lengths


def _speech_inputs(t3: T3, batch: ChatterboxBatch, double_start: bool) -> Tensor:
    """[B, T + 1 or 2, D]: the start token (twice, both at position 0) and the speech tokens from position 1 on."""
    num_starts = 2 if double_start else 1
    starts = batch.speech_tokens.new_full((len(batch.speech_tokens), num_starts), t3.hp.start_speech_token)
    tokens = torch.cat([starts, batch.speech_tokens], dim=1)
    positions = (torch.arange(tokens.shape[1], device=tokens.device) - (num_starts - 1)).clamp(min=0)
    return t3.speech_emb(tokens) + t3.speech_pos_emb.get_fixed_embedding(positions)
