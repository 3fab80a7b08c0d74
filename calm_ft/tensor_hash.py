"""Hashes of weights: by what a cache or a checkpoint knows the model that it was made with."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor


class Digest(Protocol):
    """One of hashlib's."""

    def update(self, data: bytes, /) -> None: ...


def add_tensors(digest: Digest, named: Iterable[tuple[str, object]]) -> None:
    """Names and bytes of tensors, in the order of their names.

    Values may be those of any state dict: an int8 layer holds its weight and bias as a tuple, and types beside them.
    """
    for name, value in sorted(named, key=lambda each: each[0]):
        digest.update(name.encode())
        for tensor in value if isinstance(value, tuple) else (value,):
            if isinstance(tensor, Tensor):
                plain = tensor.detach().cpu().dequantize() if tensor.is_quantized else tensor.detach().cpu()
                digest.update(plain.contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type] # hashlib takes any buffer
