"""The networks of a Chatterbox, built without weights or at small size, and the parts of them that strategies select.

Every parameter belongs to exactly one part. `t3`, `s3gen` and `voice_encoder` name the wholes, as in
`strategy.freeze_components=[voice_encoder, s3gen]`.

Sources: chatterbox/tts.py (`ChatterboxTTS.from_local`), chatterbox/models/t3, chatterbox/models/s3gen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.models.voice_encoder import VoiceEncoder
from torch import nn

from calm_ft.adapters.base import Component

NEVER_TRAINED = {"voice_encoder", "s3gen.tokenizer", "s3gen.speaker_encoder", "s3gen.vocoder", "t3.unused"}
T3_STACK = "t3"


@dataclass
class ChatterboxModels:
    """The networks and the text tokenizer; files: where they came from, by upstream's names (none for random weights).

    tokenizer_files: what `tokenizer` was read from, by upstream's names.
    """

    t3: T3
    s3gen: S3Gen
    voice_encoder: VoiceEncoder
    tokenizer: Any
    tokenizer_files: Mapping[str, Path]
    files: Mapping[str, Path] = field(default_factory=dict)
    is_tiny: bool = False


def full_size(tokenizer_files: Mapping[str, Path]) -> ChatterboxModels:
    """The English model's architecture with fresh random weights; 796M parameters."""
    tokenizer = EnTokenizer(str(tokenizer_files["tokenizer.json"]))
    return ChatterboxModels(T3(), S3Gen(), VoiceEncoder(), tokenizer, tokenizer_files)


@dataclass(frozen=True)
class Backbone:
    """T3's transformer, whatever its kind: the names of its parts as attributes of `t3.tfmr`.

    unused: a table of embeddings that gets no gradient, for upstream embeds tokens itself; positions: a learned table
    of positions, None where the layers rotate.
    """

    layers: str
    norm: str
    unused: str
    positions: str | None


LLAMA = Backbone("layers", "norm", "embed_tokens", None)
GPT2 = Backbone("h", "ln_f", "wte", "wpe")


def backbone(t3: T3) -> Backbone:
    """Which kind of transformer a T3 has."""
    return GPT2 if t3.is_gpt else LLAMA


def named_parts(models: ChatterboxModels, reaches: Callable[[str], bool]) -> dict[str, Component]:
    """The parts by name, in the order in which data passes them; `t3.backbone.layers.N` counts from 0.

    Args:
        reaches: whether the loss reaches the part of this name.
    """
    t3, s3gen = models.t3, models.s3gen
    flow, kind = s3gen.flow, backbone(t3)

    layers = {
        f"t3.backbone.layers.{index}": Component(layer, "layer", T3_STACK, index)
        for index, layer in enumerate(getattr(t3.tfmr, kind.layers))
    }
    positions = {} if kind.positions is None else {"t3.position_embedding": Component(getattr(t3.tfmr, kind.positions))}
    parts = {
        "voice_encoder": Component(models.voice_encoder),
        "s3gen.tokenizer": Component(s3gen.tokenizer, "codec"),
        "s3gen.speaker_encoder": Component(s3gen.speaker_encoder),
        "t3.conditioning": Component(t3.cond_enc),
        "t3.text_embedding": Component(_present(t3.text_emb, t3.text_pos_emb)),
        "t3.speech_embedding": Component(_present(t3.speech_emb, t3.speech_pos_emb)),
        **positions,
        "t3.unused": Component(getattr(t3.tfmr, kind.unused)),
        **layers,
        "t3.backbone.output": Component(getattr(t3.tfmr, kind.norm), "output_norm", T3_STACK),
        "t3.text_head": Component(t3.text_head, "head", T3_STACK),
        "t3.speech_head": Component(t3.speech_head, "head", T3_STACK),
        "s3gen.flow.encoder": Component(nn.ModuleList([flow.input_embedding, flow.encoder, flow.encoder_proj])),
        "s3gen.flow.speaker_projection": Component(flow.spk_embed_affine_layer),
        "s3gen.flow.decoder": Component(flow.decoder),
        "s3gen.vocoder": Component(s3gen.mel2wav, "codec"),
    }
    return {name: replace(part, trainable=name not in NEVER_TRAINED and reaches(name)) for name, part in parts.items()}


def _present(*modules: nn.Module | None) -> nn.ModuleList:
    """Those of them that a model has."""
    return nn.ModuleList([module for module in modules if module is not None])
