"""Weights stored in two bytes each: the files of an export at half their size, which upstream loads into float32."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from calm_ft.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The types that `export.dtype` names."""


def name_of(dtype: torch.dtype) -> str:
    """A type as `export.dtype` names it."""
    return next(name for name, each in DTYPES.items() if each == dtype)


def check_range(weights: Iterable[Tensor], dtype: torch.dtype) -> None:
    """Raises UserError where a weight is larger than the type can hold."""
    most = torch.finfo(dtype).max
    largest = max((float(each.detach().abs().max()) for each in weights if each.numel()), default=0.0)
    if largest > most:
        raise UserError(
            f"export.dtype={name_of(dtype)} holds no number above {most:g}, and a weight of this model is "
            f"{largest:g}: take bf16."
        )


@contextmanager
def rounded(weights: Iterable[nn.Parameter], dtype: torch.dtype) -> Iterator[None]:
    """Within the context weights have the values that they have after a way through a file of this type.

    Afterwards they are what they were, bit for bit. Raises UserError where one is larger than the type can hold.
    """
    found = list(weights) if dtype != torch.float32 else []
    check_range(found, dtype)
    originals = [(each, each.data) for each in found]
    try:
        for each, original in originals:
            each.data = original.to(dtype).to(original.dtype)
        yield
    finally:
        for each, original in originals:
            each.data = original


def state_in(dtype: torch.dtype, module: nn.Module, except_for: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """A module's state on the CPU, with its parameters in this type; buffers, such as tables, stay as they are.

    Args:
        except_for: beginnings of the names of parameters that stay as they are too.
    """
    reduced = {name for name, _ in module.named_parameters() if not name.startswith(except_for)}
    return {
        name: (tensor.detach().to(dtype) if name in reduced else tensor.detach()).cpu().contiguous()
        for name, tensor in module.state_dict().items()
    }
