"""An anchor: the base model's own one-step map as a target beside the recordings.

The released shallow models were distilled to speak with guidance in one pass. Recordings know nothing of guidance, so
the usual objective pulls such a model back to speech without it. A frozen copy of the base says, for the same rows and
the same noise, what it would have spoken; the distance to that is added to the loss (as in Li and Hoiem 2016, "Learning
without forgetting", arXiv 1606.09282, there for classes).
"""

import copy

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from torch import Tensor, nn

from calm_ft.adapters.base import LossTerm
from calm_ft.adapters.pocket_tts.components import trunk_trains
from calm_ft.adapters.pocket_tts.rows import Hidden, teacher_forced
from calm_ft.flow.precision import at_least_float32, without_autocast
from calm_ft.randomness import make_rng

ANCHOR_ROWS = ("all", "replayed")


class Anchor:
    """A frozen copy of a FlowLM as it is now, and how much its outputs count.

    rows: "all", or "replayed" for those of `data.sources` alone, so that the tuned voice is not held back.
    """

    def __init__(self, flow_lm: FlowLMModel, weight: float, rows: str) -> None:
        self.base = copy.deepcopy(flow_lm).eval().requires_grad_(False)
        self.weight = weight
        self.rows = rows

    def term(self, flow_lm: FlowLMModel, hidden: Hidden, fed_back: Tensor, temperature: float, seed: int) -> LossTerm:
        """The mean over the anchored rows' frames; no rows give a sum of 0.

        Args:
            fed_back: [B, T, C], the latents that the backbone heard.
            temperature: variance of the noise, that with which the model is played.
        """
        base, batch = self.base.to(fed_back.device), hidden.batch
        mask = batch.frame_mask if self.rows == "all" else batch.frame_mask & batch.replayed[:, None]
        if not mask.any():
            return LossTerm(self.weight, fed_back.new_zeros(()), 0)
        with torch.no_grad():
            base_z = teacher_forced(base, batch, fed_back)[0] if trunk_trains(flow_lm) else hidden.z
        x0 = temperature**0.5 * _noise(hidden, seed)
        with without_autocast(fed_back.device):
            errors = one_step_distance(flow_lm.flow_net, hidden.z[mask], base.flow_net, base_z[mask], x0[mask])
        return LossTerm(self.weight, errors.sum(), errors.numel())


def one_step_distance(head: nn.Module, cond: Tensor, base_head: nn.Module, base_cond: Tensor, x0: Tensor) -> Tensor:
    """Mean squared distance [N] between what two heads make of the same noise in one step.

    Args:
        cond, base_cond: [N, D], each backbone's outputs; gradients flow to the first.
        x0: [N, C].
    """
    s, t = torch.zeros_like(x0[:, :1]), torch.ones_like(x0[:, :1])
    with torch.no_grad():
        target = base_head(at_least_float32(base_cond), s, t, x0)
    return (head(at_least_float32(cond), s, t, x0) - target).square().mean(dim=-1)


def _noise(hidden: Hidden, seed: int) -> Tensor:
    """[B, T, C]; a row's is a function of (seed, its place)."""
    rows = [
        torch.randn(hidden.x1.shape[1:], generator=make_rng(seed, "anchor", place)) for place in hidden.batch.places
    ]
    return torch.stack(rows).to(hidden.x1)
