"""The parts of a Chatterbox that strategies select; every parameter belongs to exactly one.

`t3`, `s3gen` and `voice_encoder` name the wholes, as in `strategy.freeze_components=[voice_encoder, s3gen]`.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from calm_ft.adapters.base import Component
from calm_ft.adapters.chatterbox.models import Models

NEVER_TRAINED = {"voice_encoder", "s3gen.tokenizer", "s3gen.speaker_encoder", "s3gen.vocoder", "t3.unused"}
T3_STACK = "t3"


def named_parts(models: Models, reaches: Callable[[str], bool]) -> dict[str, Component]:
    """The parts by name, in the order in which data passes them; `t3.backbone.layers.N` counts from 0.

    Args:
        reaches: whether the loss reaches the part of this name.
    """
    t3, s3gen = models.t3, models.s3gen
    flow = s3gen.flow

    layers = {
        f"t3.backbone.layers.{index}": Component(layer, "layer", T3_STACK, index)
        for index, layer in enumerate(t3.tfmr.layers)
    }
    parts = {
        "voice_encoder": Component(models.voice_encoder),
        "s3gen.tokenizer": Component(s3gen.tokenizer, "codec"),
        "s3gen.speaker_encoder": Component(s3gen.speaker_encoder),
        "t3.conditioning": Component(t3.cond_enc),
        "t3.text_embedding": Component(nn.ModuleList([t3.text_emb, t3.text_pos_emb])),
        "t3.speech_embedding": Component(nn.ModuleList([t3.speech_emb, t3.speech_pos_emb])),
        "t3.unused": Component(t3.tfmr.embed_tokens),  # upstream embeds tokens itself: this table gets no gradient
        **layers,
        "t3.backbone.output": Component(t3.tfmr.norm, "output_norm", T3_STACK),
        "t3.text_head": Component(t3.text_head, "head", T3_STACK),
        "t3.speech_head": Component(t3.speech_head, "head", T3_STACK),
        "s3gen.flow.encoder": Component(nn.ModuleList([flow.input_embedding, flow.encoder, flow.encoder_proj])),
        "s3gen.flow.speaker_projection": Component(flow.spk_embed_affine_layer),
        "s3gen.flow.decoder": Component(flow.decoder),
        "s3gen.vocoder": Component(s3gen.mel2wav, "codec"),
    }
    return {name: replace(part, trainable=name not in NEVER_TRAINED and reaches(name)) for name, part in parts.items()}
