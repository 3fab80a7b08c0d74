"""The parts of a Chatterbox that a strategy selects by name; every parameter belongs to exactly one.

`t3`, `s3gen` and `voice_encoder` name the wholes, as in `strategy.freeze_components=[voice_encoder, s3gen]`.
"""

from torch import nn

from calm_ft.adapters.chatterbox.models import Models

NEVER_TRAINED = {"voice_encoder", "s3gen.tokenizer", "s3gen.speaker_encoder", "s3gen.vocoder", "t3.unused"}


def named_parts(models: Models) -> dict[str, nn.Module]:
    """The parts by name, in the order of the data's way; `t3.backbone.layers.N` counts from 0."""
    t3, s3gen = models.t3, models.s3gen
    flow = s3gen.flow
    return {
        "voice_encoder": models.voice_encoder,
        "s3gen.tokenizer": s3gen.tokenizer,
        "s3gen.speaker_encoder": s3gen.speaker_encoder,
        "t3.conditioning": t3.cond_enc,
        "t3.text_embedding": nn.ModuleList([t3.text_emb, t3.text_pos_emb]),
        "t3.speech_embedding": nn.ModuleList([t3.speech_emb, t3.speech_pos_emb]),
        "t3.unused": t3.tfmr.embed_tokens,  # upstream embeds tokens itself; this table never gets a gradient
        **{f"t3.backbone.layers.{index}": layer for index, layer in enumerate(t3.tfmr.layers)},
        "t3.backbone.output": t3.tfmr.norm,
        "t3.text_head": t3.text_head,
        "t3.speech_head": t3.speech_head,
        "s3gen.flow.encoder": nn.ModuleList([flow.input_embedding, flow.encoder, flow.encoder_proj]),
        "s3gen.flow.speaker_projection": flow.spk_embed_affine_layer,
        "s3gen.flow.decoder": flow.decoder,
        "s3gen.vocoder": s3gen.mel2wav,
    }
