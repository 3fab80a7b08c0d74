"""What the frozen layers of a backbone make of a row, so that they need not run at every step.

Where the heads alone train, that is the backbone's output for each frame. Where the last layers train too, it is what
enters the first of them, for the whole row with its prefix. Nothing that trains lies below, so it never changes.
"""

import hashlib
from collections.abc import Sequence

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from torch import Tensor, nn

from calm_ft.adapters.frozen_layers import fingerprint_below, num_frozen_layers, only_layers
from calm_ft.adapters.pocket_tts.components import HEADS, trunk_trains
from calm_ft.adapters.pocket_tts.rows import (
    Kept,
    PocketTTSBatch,
    Row,
    assembled,
    backbone_outputs,
    normalized,
)
from calm_ft.data.feature_cache import Features
from calm_ft.tensor_hash import add_tensors

ALL = -1
LAYERS = "transformer.layers."
OUTPUT = ("out_norm.", "z_proj.")


def num_frozen(flow_lm: FlowLMModel) -> int:
    """How many layers, from the first on, are frozen with everything that feeds them."""
    return num_frozen_layers(flow_lm, LAYERS, (*OUTPUT, *HEADS))


def kept_outputs(flow_lm: FlowLMModel, batch: PocketTTSBatch) -> list[Features]:
    """Of each row, on the CPU and without padding: what `joined` makes batches of.

    outputs: [T + 1, D] for the heads, frame T being the first one past the end; or [L, D], what enters the first
    trained layer. depth: the number of layers that have run, ALL where nothing of the backbone is left to run; prefix:
    how much of L lies before the frames.
    """
    latents = normalized(flow_lm, batch)
    rows, prefix_lengths = assembled(flow_lm, batch, latents)
    depth = num_frozen(flow_lm) if trunk_trains(flow_lm) else ALL
    if depth == ALL:
        spans = batch.spans(flow_lm.insert_bos_before_voice)
        outputs = backbone_outputs(flow_lm, rows, prefix_lengths, latents.shape[1], spans)
        prefix_lengths = torch.zeros_like(prefix_lengths)
    else:
        with only_layers(flow_lm.transformer, 0, depth):
            outputs = flow_lm.transformer(rows, None)
    prefixes = prefix_lengths.cpu()
    return [
        {"outputs": row[: prefix + length + 1].cpu(), "prefix": prefix, "depth": torch.tensor(depth)}
        for row, prefix, length in zip(outputs, prefixes, batch.num_frames.tolist(), strict=True)
    ]


def joined(kept: Sequence[Features]) -> Kept:
    """What was kept of each row as one padded tensor."""
    outputs = nn.utils.rnn.pad_sequence([each["outputs"] for each in kept], batch_first=True)
    return Kept(outputs, torch.stack([each["prefix"] for each in kept]), int(kept[0]["depth"]))


def from_kept(flow_lm: FlowLMModel, batch: PocketTTSBatch, kept: Kept) -> Tensor:
    """The backbone outputs z [B, T, D] for rows of which something was kept."""
    if kept.depth == ALL:
        return kept.outputs
    spans = batch.spans(flow_lm.insert_bos_before_voice)
    return backbone_outputs(
        flow_lm, kept.outputs, kept.prefix_lengths, batch.latents.shape[1], spans, first_layer=kept.depth
    )


def row_key(row: Row) -> str:
    """A hash of all that enters the layers for a row."""
    digest = hashlib.sha256()
    tokens = torch.tensor(row.tokens)
    add_tensors(digest, [("latents", row.latents), ("prompt", row.prompt_latents), ("tokens", tokens)])
    return digest.hexdigest()[:32]


def frozen_fingerprint(flow_lm: FlowLMModel) -> str:
    """A hash of the weights that shape what is kept, and of where it is taken."""
    heads_alone = not trunk_trains(flow_lm)
    above = HEADS if heads_alone else (*OUTPUT, *HEADS)
    return f"{'heads-' if heads_alone else ''}{fingerprint_below(flow_lm, LAYERS, above, num_frozen(flow_lm))}"
