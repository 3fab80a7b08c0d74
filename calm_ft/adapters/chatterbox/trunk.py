"""What T3's frozen layers make of rows, where only the last layers and the heads train (`strategy=last_n_layers`).

Only whole rows are kept. A row that loses its text or its condition in a step, as one in five does, runs through all
layers in that step.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from chatterbox.models.t3 import T3
from torch import Tensor, nn

from calm_ft.adapters.chatterbox.models import backbone
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch
from calm_ft.adapters.frozen_layers import fingerprint_below, num_frozen_layers, only_layers
from calm_ft.tensor_hash import add_tensors

ROW = ("speech_tokens", "text_tokens", "speaker_embedding", "prompt_tokens", "emotion")


def num_frozen(t3: T3) -> int:
    """How many of T3's layers, from the first on, are frozen with everything that feeds them."""
    layers, above = _names(t3)
    return num_frozen_layers(t3, layers, above)


def frozen_fingerprint(t3: T3) -> str:
    """A hash of the weights that shape what is kept."""
    layers, above = _names(t3)
    return fingerprint_below(t3, layers, above, num_frozen(t3))


def _names(t3: T3) -> tuple[str, tuple[str, ...]]:
    """Beginnings of parameters' names: those of the layers, and those of what follows them."""
    kind = backbone(t3)
    return f"tfmr.{kind.layers}.", (f"tfmr.{kind.norm}.", "text_head.", "speech_head.")


def row_key(row: ChatterboxBatch) -> str:
    """A hash of all that enters the layers for the only row of a batch."""
    digest = hashlib.sha256()
    add_tensors(digest, [(name, getattr(row, name)) for name in ROW])
    return digest.hexdigest()[:32]


def below(t3: T3, embeddings: Tensor) -> Tensor:
    """What leaves the frozen layers, [B, L, D]."""
    kind = backbone(t3)
    lower = only_layers(t3.tfmr, 0, num_frozen(t3), kind.layers)
    with torch.no_grad(), _without(t3, kind.norm, nn.Identity()), lower:
        return t3.tfmr(inputs_embeds=embeddings, use_cache=False).last_hidden_state


def _above(t3: T3, hidden: Tensor) -> Tensor:
    """What the last layers and the norm make of what left the frozen ones, [B, L, D]."""
    kind = backbone(t3)
    with only_layers(t3.tfmr, num_frozen(t3), None, kind.layers):
        if kind.positions is None:
            return t3.tfmr(inputs_embeds=hidden, use_cache=False).last_hidden_state
        with _without(t3, kind.positions, _Zeros()):  # the positions were added before the first layer
            return t3.tfmr(inputs_embeds=hidden, use_cache=False).last_hidden_state


class _Zeros(nn.Module):
    """In the place of a table of embeddings: adds nothing."""

    def forward(self, ids: Tensor) -> Tensor:
        return ids.new_zeros((), dtype=torch.get_default_dtype())


@contextmanager
def _without(t3: T3, name: str, substitute: nn.Module) -> Iterator[None]:
    """Within the context a part of the transformer is another module."""
    part = getattr(t3.tfmr, name)
    setattr(t3.tfmr, name, substitute)
    try:
        yield
    finally:
        setattr(t3.tfmr, name, part)


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
    return _above(t3, hidden)


def joined(kept: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths, padded, [B, M, D]."""
    return nn.utils.rnn.pad_sequence(list(kept), batch_first=True)
