"""The parts of a Pocket TTS that a strategy selects by name, and what of it shapes encoded features.

Every parameter of the model belongs to exactly one part. Parts hold the model's own parameters (wrapped where
upstream keeps a bare one), so that setting requires_grad on a part sets it on the model.
"""

import hashlib

from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.tts_model import TTSModel
from torch import nn

from calm_ft.tensor_hash import add_tensors

FEATURES_VERSION = "pocket_tts-1"  # to be raised with each change of `encode` that changes features
HEADS = ("flow_net.", "out_eos.")


def named_parts(tts: TTSModel) -> dict[str, nn.Module]:
    """The parts by name, in the order of the data's way; `backbone.layers.N` counts from 0."""
    lm = tts.flow_lm
    voice = {"speaker_proj_weight": lm.speaker_proj_weight}
    if lm.insert_bos_before_voice:
        voice["bos_before_voice"] = lm.bos_before_voice
    return {
        "codec": tts.mimi,
        "text_embedding": lm.conditioner,
        "voice_projection": nn.ParameterDict(voice),
        "latent_input": nn.ModuleList([lm.input_linear, nn.ParameterDict({"bos_emb": lm.bos_emb})]),
        **{f"backbone.layers.{index}": layer for index, layer in enumerate(lm.transformer.layers)},
        "backbone.output": lm.out_norm if lm.z_proj is None else nn.ModuleList([lm.out_norm, lm.z_proj]),
        "flow_head": lm.flow_net,
        "eos_head": lm.out_eos,
    }


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
