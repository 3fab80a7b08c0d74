"""Gradient checkpointing of the backbone: its layers' activations are computed again in the backward pass, not kept.

Memory for time (torch.utils.checkpoint; Chen et al., arXiv 1604.06174). Values and gradients are the same bits.
"""

from functools import partial

from pocket_tts.modules.transformer import StreamingTransformer
from torch.utils.checkpoint import checkpoint


def checkpoint_layers(transformer: StreamingTransformer) -> None:
    """Let every layer keep its input only, where gradients are recorded; elsewhere it runs as before.

    The layers' own `forward` is wrapped, so that upstream's transformer goes on calling them as it does, and no name
    in the state dict changes.
    """
    for layer in transformer.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
