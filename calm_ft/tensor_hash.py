"""Hashes of weights: by what a cache or a checkpoint knows the model that it was made with."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor


class Digest(Protocol):
    """One of hashlib's."""

    def update(self, data: bytes, /) -> None: ...


def add_tensors(digest: Digest, named: Iterable[tuple[str, Tensor]]) -> None:
    """Names and bytes of tensors, in the order of their names."""
    for name, tensor in sorted(named, key=lambda each: each[0]):
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(name.encode())
        digest.update(raw.numpy())  # type: ignore[arg-type] # hashlib takes any buffer
