"""The lower layers of a stack, where they are frozen: how many there are, and how to run them apart from the others."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from calm_ft.tensor_hash import add_tensors


def num_frozen_layers(module: nn.Module, layers: str, above: Sequence[str]) -> int:
    """How many layers, from the first on, are frozen with everything that feeds them.

    Args:
        module: holds the stack.
        layers: the beginning of the names of the layers' parameters, as in `transformer.layers.`; a number follows.
        above: beginnings of the names of what follows the last layer, and may train.
    """
    trained = [name for name, p in module.named_parameters() if p.requires_grad and not name.startswith(tuple(above))]
    if any(not name.startswith(layers) for name in trained):
        return 0
    return min((_layer(name, layers) for name in trained), default=_depth(module, layers))


def fingerprint_below(module: nn.Module, layers: str, above: Sequence[str], depth: int) -> str:
    """A hash of every tensor that shapes what leaves the first `depth` layers."""

    def is_above(name: str) -> bool:
        return name.startswith(tuple(above)) or (name.startswith(layers) and _layer(name, layers) >= depth)

    digest = hashlib.sha256(f"{depth}".encode())
    add_tensors(digest, [(name, tensor) for name, tensor in module.state_dict().items() if not is_above(name)])
    return digest.hexdigest()[:16]


@contextmanager
def only_layers(stack: Any, first: int, end: int | None, attribute: str = "layers") -> Iterator[None]:
    """Let a stack, which has its layers in the named attribute, run some of them while the context lasts."""
    layers = getattr(stack, attribute)
    setattr(stack, attribute, layers[first:end])
    try:
        yield
    finally:
        setattr(stack, attribute, layers)


def _layer(name: str, layers: str) -> int:
    return int(name.removeprefix(layers).split(".")[0])


def _depth(module: nn.Module, layers: str) -> int:
    names: Iterable[str] = (name for name, _ in module.named_parameters() if name.startswith(layers))
    return 1 + max(_layer(name, layers) for name in names)
