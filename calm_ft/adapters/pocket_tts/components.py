"""The parts of a Pocket TTS that strategies select, what of it shapes features, and gradient checkpointing.

Every parameter of the model belongs to exactly one part. Parts hold the model's own parameters (wrapped where
upstream keeps a bare one), so that setting requires_grad on a part sets it on the model.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState
from pocket_tts.modules.transformer import StreamingTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from calm_ft.adapters.base import Component
from calm_ft.tensor_hash import add_tensors

BACKBONE = "backbone"

VOICE_VERSION = "pocket_tts-1"  # to be raised with each change that changes a voice
FEATURES_VERSION = "pocket_tts-1"  # to be raised with each change of `encode` that changes features
HEADS = ("flow_net.", "out_eos.")


def named_parts(tts: TTSModel) -> dict[str, Component]:
    """The parts by name, in the order in which data passes them; `backbone.layers.N` counts from 0."""
    lm = tts.flow_lm
    voice = {"speaker_proj_weight": lm.speaker_proj_weight}
    if lm.insert_bos_before_voice:
        voice["bos_before_voice"] = lm.bos_before_voice
    layers = {
        f"{BACKBONE}.layers.{index}": Component(layer, "layer", BACKBONE, index)
        for index, layer in enumerate(lm.transformer.layers)
    }
    output = lm.out_norm if lm.z_proj is None else nn.ModuleList([lm.out_norm, lm.z_proj])
    return {
        "codec": Component(tts.mimi, "codec", trainable=False),
        "text_embedding": Component(lm.conditioner),
        "voice_projection": Component(nn.ParameterDict(voice)),
        "latent_input": Component(nn.ModuleList([lm.input_linear, nn.ParameterDict({"bos_emb": lm.bos_emb})])),
        **layers,
        f"{BACKBONE}.output": Component(output, "output_norm", BACKBONE),
        "flow_head": Component(lm.flow_net, "head", BACKBONE, blocks=tuple(lm.flow_net.res_blocks)),
        "eos_head": Component(lm.out_eos, "head", BACKBONE),
    }


def checkpoint_layers(transformer: StreamingTransformer) -> None:
    """Let every layer keep only its input where gradients are recorded, and compute its activations a second time.

    Memory for time (Chen et al., arXiv 1604.06174); values and gradients are the same bits. The layers' own `forward`
    is wrapped, so that upstream's transformer calls them as before and no name in the state dict changes.
    """
    for layer in transformer.layers:
        layer.forward = _ComputedTwice(layer.forward)


@dataclass(frozen=True)
class _ComputedTwice:
    """A layer's forward."""

    plain: Callable[..., Tensor]

    def __call__(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        output: Tensor = checkpoint(self.plain, x, *others, use_reentrant=False, **named)
        return output


def is_compiled(layer: nn.Module) -> bool:
    """Whether a layer runs on whole rows alone (`compile_layers`)."""
    return isinstance(vars(layer).get("forward"), _WholeRows)


def through_layer(layer: nn.Module, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """part(x), which calls the layer's blocks by themselves; computed twice where the layer is."""
    if not isinstance(vars(layer).get("forward"), _ComputedTwice):
        return part(x)
    output: Tensor = checkpoint(part, x, use_reentrant=False)
    return output


def compile_layers(transformer: StreamingTransformer) -> None:
    """Let torch.compile fuse what each layer does to whole rows; speech, which keeps a state, is drawn as before.

    Lengths are symbols, so that one compilation serves all batches. Upstream's training code compiles layer by layer
    too (training/train_utils.py).
    """
    for layer in transformer.layers:
        layer.forward = _WholeRows(layer.forward, torch.compile(layer.forward, dynamic=True))


@dataclass(frozen=True)
class _WholeRows:
    """A layer's forward: `compiled` where it is given no state.

    A tensor that is a part of a larger one would be compiled for once more, so rows and mask are whole.
    """

    plain: Callable[..., Tensor]
    compiled: Callable[..., Tensor]

    def __call__(self, x: Tensor, model_state: ModelState | None, attn_mask: Tensor | None = None) -> Tensor:
        if model_state is not None:
            return self.plain(x, model_state, attn_mask=attn_mask)
        return self.compiled(x.contiguous(), None, attn_mask=None if attn_mask is None else attn_mask.contiguous())


def trunk_trains(flow_lm: FlowLMModel) -> bool:
    """Whether anything before the heads needs gradients; asked at every step, so it builds no parts."""
    return any(p.requires_grad for name, p in flow_lm.named_parameters() if not name.startswith(HEADS))


def encoder_fingerprint(tts: TTSModel) -> str:
    """A hash of the codec's encoder (weights, shape, rates); decoder and FlowLM do not enter."""
    mimi = tts.config.mimi
    digest = hashlib.sha256(f"{FEATURES_VERSION}:{mimi.sample_rate}:{mimi.frame_rate}".encode())
    digest.update(f"{mimi.seanet}{mimi.transformer}{mimi.inner_dim}".encode())
    state = tts.mimi.state_dict().items()
    add_tensors(digest, [(name, tensor) for name, tensor in state if name.startswith(("encoder", "downsample"))])
    return digest.hexdigest()[:16]


def voice_fingerprint(tts: TTSModel) -> str:
    """A hash of what makes a voice's state of a recording: the encoder, and the FlowLM without its heads."""
    config = tts.config.flow_lm
    described = f"{VOICE_VERSION}:{encoder_fingerprint(tts)}:{config.transformer}:{tts.flow_lm.insert_bos_before_voice}"
    digest = hashlib.blake2b(described.encode())
    state = tts.flow_lm.state_dict().items()
    add_tensors(digest, [(name, tensor) for name, tensor in state if not name.startswith(HEADS)])
    return digest.hexdigest()[:16]
