"""A FlowLM from scratch over the codec and tokenizer of an existing bundle.

Initialisation as in the field: truncated normal of std 1/sqrt(fan in) for the backbone, and for the flow head
the DiT scheme (Peebles & Xie, arXiv 2212.09748, section 3.2): Xavier everywhere, modulations and output at
zero, so that the head starts as the zero velocity.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.modules.mlp import LayerNorm, RMSNorm, SimpleMLPAdaLN
from torch import Tensor, nn

from calm_ft.data.feature_cache import Features
from calm_ft.errors import UserError

MIN_STD = 1e-6


@dataclass(frozen=True)
class LatentStatistics:
    """mean and std of each latent channel, [C], float64."""

    mean: Tensor
    std: Tensor


def latent_statistics(features: Iterable[Features]) -> LatentStatistics:
    """Exact mean and (population) standard deviation over all frames of all clips.

    Clips are merged by Chan's update, which does not cancel where a mean is large beside its spread.

    Raises UserError where a channel does not vary (digital silence, or a broken codec).
    """
    num_frames, mean, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for clip in features:
        latents = clip["latents"].double()
        total = num_frames + len(latents)
        shift = latents.mean(dim=0) - mean
        squares = squares + latents.var(dim=0, correction=0) * len(latents)
        squares = squares + shift.square() * (num_frames * len(latents) / total)
        mean = mean + shift * (len(latents) / total)
        num_frames = total
    std = (squares / max(num_frames, 1)).sqrt()
    if not bool((std > MIN_STD).all()):
        raise UserError("A latent channel of the training data never varies: check the recordings and the codec.")
    return LatentStatistics(mean, std)


@torch.no_grad()
def initialize_flow_lm(flow_lm: FlowLMModel, seed: int) -> None:
    """Set every weight of the FlowLM anew, as a function of the seed; normalisations return to identity."""
    rng = torch.Generator().manual_seed(seed)
    for module in flow_lm.modules():
        if isinstance(module, nn.Linear):
            _truncated_normal(module.weight, module.in_features, rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            _truncated_normal(module.weight, module.embedding_dim, rng)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    _initialize_flow_head(flow_lm.flow_net, rng)
    _truncated_normal(flow_lm.speaker_proj_weight, flow_lm.speaker_proj_weight.shape[1], rng)
    nn.init.normal_(flow_lm.bos_emb, generator=rng)
    if flow_lm.insert_bos_before_voice:
        nn.init.normal_(flow_lm.bos_before_voice, generator=rng)
    flow_lm.emb_mean.zero_()
    flow_lm.emb_std.fill_(1.0)


def _truncated_normal(weight: Tensor, fan_in: int, rng: torch.Generator) -> None:
    std = fan_in**-0.5
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std, generator=rng)


def _initialize_flow_head(head: SimpleMLPAdaLN, rng: torch.Generator) -> None:
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=rng)
            nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.alpha)
        elif isinstance(module, LayerNorm) and hasattr(module, "weight"):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for embedder in head.time_embed:
        for layer in embedder.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02, generator=rng)
    for layer in [block.adaLN_modulation[-1] for block in head.res_blocks]:
        nn.init.zeros_(layer.weight)
    for layer in (head.final_layer.adaLN_modulation[-1], head.final_layer.linear):
        nn.init.zeros_(layer.weight)
