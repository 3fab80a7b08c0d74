"""A stand-in for a device without float64, such as Apple's MPS, on a machine that has none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cpu", 0)  # what tensors "on the device" say; a plain "cpu" is the host
T = TypeVar("T")


class NoFloat64Error(Exception):
    """Not a TypeError as MPS raises it: operators would take that for an operand that they do not know."""


class _NoFloat64(TorchFunctionMode):
    """A tensor is on the device if it was put there, came from one that is, or was made with `device=` of one.

    All of them lie on the CPU in fact, so that `.cpu()` would give the tensor itself: it gives a copy here.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        from_device = any(_is_on_device(each) for each in _values([args, given]))
        if func == Tensor.device.__get__ and from_device:
            return DEVICE
        result = func(*args, **given)
        if not isinstance(result, Tensor):
            return result
        if func is Tensor.cpu or (func is Tensor.to and any(each in ("cpu", torch.device("cpu")) for each in args[1:])):
            return result.clone()
        if from_device or DEVICE in _values([args, given]):
            if result.dtype == torch.float64:
                raise NoFloat64Error
            on_device(result)
        return result


def _is_on_device(value: Any) -> bool:
    return isinstance(value, Tensor) and bool(value.__dict__.get("is_on_device"))


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _values(each)
    elif isinstance(value, Tensor | torch.device):
        yield value


def on_device(value: T) -> T:
    """Put a module, a batch or a tensor on the device."""
    tensors: Any = [value]
    if isinstance(value, nn.Module):
        tensors = [*value.parameters(), *value.buffers()]
    elif is_dataclass(value):
        tensors = vars(value).values()
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            tensor.__dict__["is_on_device"] = True
    return value


@contextmanager
def without_float64() -> Iterator[None]:
    """Within the context, an operation that makes a float64 tensor on the device fails, as on MPS."""
    with _NoFloat64():
        yield


def refuses(make: Callable[[], Any]) -> bool:
    """Whether such a device refuses what `make` does."""
    try:
        with without_float64():
            make()
    except NoFloat64Error:
        return True
    return False
