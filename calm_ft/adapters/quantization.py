"""Playing with int8 weights on a CPU: a copy of a model's structure whose linear layers have int8 weights.

The copy shares every other tensor with the model, which is not changed and can train on. What is shared follows the
model, so a copy is to be used while the model keeps the weights that it had.
"""

import copy
from itertools import chain
from typing import TypeVar

import torch
from torch import nn

from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.errors import UserError

Module = TypeVar("Module", bound=nn.Module)


def check_on_cpu(model: nn.Module) -> None:
    """Raises UserError where a model is not on the CPU: torch's dynamic int8 layers run nowhere else."""
    device = next(model.parameters()).device
    if device.type != "cpu":
        raise UserError(f"Int8 weights are played on a CPU, and the model is on {device}: move it, or do not quantize.")


def with_own_children(module: Module) -> Module:
    """A copy of a module that has the same children; giving it another child does not change the module."""
    copied = copy.copy(module)
    copied.__dict__["_modules"] = dict(module._modules)
    return copied


def with_own_modules(module: Module) -> Module:
    """A copy of a module and of all that it is built of, with the same tensors."""
    tensors = chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def int8_linears(module: nn.Module) -> None:
    """Replace every `nn.Linear` inside a module by a dynamic int8 one: int8 weights, inputs quantised as they come.

    Raises UserError where there is none, as in GPT-2, whose layers are `Conv1D`.
    """
    if not any(type(each) is nn.Linear for each in module.modules()):
        raise UserError(
            f"{type(module).__name__} has no linear layers of torch's own kind, and others cannot be played with int8 "
            "weights: leave --quantize out."
        )
    from torch.ao.quantization import quantize_dynamic  # late: it takes a while to import

    if torch.backends.quantized.engine == "none":  # as on a processor for which torch chooses none by itself
        known = [each for each in torch.backends.quantized.supported_engines if each != "none"]
        if not known:
            raise UserError("This build of torch has no int8 layers for this processor: leave --quantize out.")
        torch.backends.quantized.engine = known[0]
    with quiet_and_unchanged():
        quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8, inplace=True)
