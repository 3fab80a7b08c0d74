"""A FlowLM from scratch over the codec and tokenizer of an existing bundle.

Initialisation as in the field: truncated normal of std 1/sqrt(fan in) for the backbone, and for the flow head the
DiT scheme (Peebles & Xie, arXiv 2212.09748, section 3.2): Xavier everywhere, modulations and output at zero, so that
the head starts as the zero velocity.
"""

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.modules.mlp import SimpleMLPAdaLN
from torch import nn


def initialize_flow_lm(flow_lm: FlowLMModel, seed: int) -> None:
    """Set every weight of the FlowLM anew, as a function of the seed; normalisation layers return to identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in flow_lm.modules():
            if isinstance(module, nn.Linear):
                _truncated_normal(module.weight, module.in_features)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                _truncated_normal(module.weight, module.embedding_dim)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        _initialize_flow_head(flow_lm.flow_net)
        _truncated_normal(flow_lm.speaker_proj_weight, flow_lm.speaker_proj_weight.shape[1])
        nn.init.normal_(flow_lm.bos_emb)
        if flow_lm.insert_bos_before_voice:
            nn.init.normal_(flow_lm.bos_before_voice)
        flow_lm.emb_mean.zero_()
        flow_lm.emb_std.fill_(1.0)


def _truncated_normal(weight: torch.Tensor, fan_in: int) -> None:
    std = fan_in**-0.5
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)


def _initialize_flow_head(head: SimpleMLPAdaLN) -> None:
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for embedder in head.time_embed:
        for layer in embedder.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
    for layer in [block.adaLN_modulation[-1] for block in head.res_blocks]:
        nn.init.zeros_(layer.weight)
    for layer in (head.final_layer.adaLN_modulation[-1], head.final_layer.linear):
        nn.init.zeros_(layer.weight)
