"""What T3's frozen layers make of rows, where only the last layers and the heads train (`strategy=last_n_layers`).

Only whole rows are kept. A row that loses its text or its condition in a step, as one in five does, runs through all
layers in that step.
"""

import hashlib
from collections.abc import Sequence

import torch
from chatterbox.models.t3 import T3
from torch import Tensor, nn

from calm_ft.adapters.chatterbox.objective import ChatterboxBatch
from calm_ft.adapters.frozen_layers import fingerprint_below, num_frozen_layers, only_layers
from calm_ft.tensor_hash import add_tensors

LAYERS = "tfmr.layers."
ABOVE = ("tfmr.norm.", "text_head.", "speech_head.")
ROW = ("speech_tokens", "text_tokens", "speaker_embedding", "prompt_tokens", "emotion")


def num_frozen(t3: T3) -> int:
    """How many of T3's layers, from the first on, are frozen with everything that feeds them."""
    return num_frozen_layers(t3, LAYERS, ABOVE)


def frozen_fingerprint(t3: T3) -> str:
    """A hash of the weights that shape what is kept."""
    return fingerprint_below(t3, LAYERS, ABOVE, num_frozen(t3))


def row_key(row: ChatterboxBatch) -> str:
    """A hash of all that enters the layers for the only row of a batch."""
    digest = hashlib.sha256()
    add_tensors(digest, [(name, getattr(row, name)) for name in ROW])
    return digest.hexdigest()[:32]


def below(t3: T3, embeddings: Tensor) -> Tensor:
    """What leaves the frozen layers, [B, L, D]."""
    norm = t3.tfmr.norm
    t3.tfmr.norm = nn.Identity()
    try:
        with torch.no_grad(), only_layers(t3.tfmr, 0, num_frozen(t3)):
            return t3.tfmr(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    finally:
        t3.tfmr.norm = norm


def outputs_from_kept(t3: T3, embeddings: Tensor, kept: Tensor, is_whole: Tensor) -> Tensor:
    """Outputs of the last layers [B, L, D].

    Args:
        embeddings: [B, L, D], the rows as they enter the first layer.
        kept: [B, M, D], M >= L where all rows are whole.
        is_whole: [B] bool, the rows of which what was kept may be taken.
    """
    length = embeddings.shape[1]
    hidden = torch.zeros_like(embeddings)
    hidden[is_whole] = kept[is_whole, :length].to(hidden)
    if not is_whole.all():
        hidden[~is_whole] = below(t3, embeddings[~is_whole]).to(hidden)
    with only_layers(t3.tfmr, num_frozen(t3), None):
        return t3.tfmr(inputs_embeds=hidden, use_cache=False).last_hidden_state


def joined(kept: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths, padded, [B, M, D]."""
    return nn.utils.rnn.pad_sequence(list(kept), batch_first=True)
