"""What follows the backbone: EOS loss and validation residuals of one batch's outputs."""

from dataclasses import dataclass

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from torch import Tensor
from torch.nn import functional as F

from calm_ft.adapters.base import RowResiduals
from calm_ft.adapters.pocket_tts.batch import PocketTTSBatch
from calm_ft.flow.objective import Draws, Objective
from calm_ft.flow.validation import validation_residuals
from calm_ft.randomness import derive_seed, make_rng

FLOW_SHARE = 0.75  # of the joint residual; the rest is LSD's


@dataclass
class Hidden:
    """What the heads consume: z [B, T, D], targets x1 [B, T, C] (normalised), and the batch's masks."""

    z: Tensor
    x1: Tensor
    batch: PocketTTSBatch


def eos_losses(flow_lm: FlowLMModel, hidden: Hidden) -> Tensor:
    """Binary cross-entropy of the EOS head at every position [B, T]; only those of `eos_mask` count."""
    logits = flow_lm.out_eos(hidden.z).squeeze(-1).float()
    target = hidden.batch.eos_target.to(logits)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def head_rows(objective: Objective, hidden: Hidden, multiplier: int, seed: int) -> tuple[Tensor, Tensor, Draws]:
    """Conditions [N, D], targets [N, C] and draws for every valid frame, `multiplier` times each.

    Utterance by utterance, and what an utterance draws is a function of (seed, its place): batch mates cannot change
    it.
    """
    mask, lengths = hidden.batch.frame_mask, hidden.batch.num_frames.tolist()
    z, x1 = (
        torch.cat([row.repeat(multiplier, 1) for row in values[mask].float().split(lengths)])
        for values in (hidden.z, hidden.x1)
    )
    draws = [
        objective.draw(multiplier * length, x1.shape[1], make_rng(seed, "objective", place))
        for length, place in zip(lengths, hidden.batch.places, strict=True)
    ]
    return z, x1, Draws.joined(draws)


@torch.no_grad()
def row_residuals(flow_lm: FlowLMModel, hidden: Hidden, seed: int) -> RowResiduals:
    """Unweighted residuals of each row, with noise and times from (seed, its utterance's id).

    The joint one is 0.75 flow + 0.25 LSD whatever the objective trained, flow alone for a head with one time condition.
    """
    batch, eos = hidden.batch, eos_losses(flow_lm, hidden)
    collected: dict[str, list[Tensor]] = {}
    for index, utterance_id in enumerate(batch.utterance_ids):
        rng = make_rng(derive_seed(seed, utterance_id), "validation")
        valid = batch.frame_mask[index]
        z, x1 = hidden.z[index, valid].float(), hidden.x1[index, valid].float()
        for name, values in validation_residuals(flow_lm.flow_net, z, x1, rng).items():
            collected.setdefault(name, []).append(values.mean())
        collected.setdefault("eos", []).append(eos[index, batch.eos_mask[index]].mean())
    means = {name: torch.stack(values) for name, values in collected.items()}
    lsd = means.get("lsd", means["flow"])
    residual = FLOW_SHARE * means["flow"] + (1 - FLOW_SHARE) * lsd
    return RowResiduals({"residual": residual, **means}, batch.num_frames)
