"""LoRA layers in the place of linear ones (Hu et al., arXiv 2106.09685), injected by peft:

    y = W x + b + alpha / rank * B A dropout(x),     A [rank, in] drawn, B [out, rank] zero, W [out, in] frozen

GPT-2's layers (transformers' `Conv1D`) are linear too, but hold W transposed, [in, out]. Layers are injected into the
model's own modules; wrapping the model, as `get_peft_model` does, would hide what streaming systems look up in
themselves. Only modules of the very types in LINEAR are replaced: subclasses may be called by their weights, past the
LoRA layer.
"""

import math
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from calm_ft.finetuning.lora_file import LINEAR, folded
from calm_ft.randomness import make_rng

ADAPTER = "default"  # peft's name for the only one there is
SEED = 0  # of A; runs with other seeds differ by their data and noise alone


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """What LoRA can be put upon, by full name: linear layers, and the LoRA layers in the place of some."""
    found: dict[str, nn.Module] = {}
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(inside or "\0"):
            continue
        if isinstance(module, LoraLinear):
            inside += (f"{name}.",)
            found[name] = module
        elif type(module) in LINEAR:
            found[name] = module
    return found


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The LoRA layers of a model by full name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def inject(model: nn.Module, names: Iterable[str], rank: int, alpha: float, dropout: float) -> None:
    """Put LoRA layers in the place of the linear layers of these full names.

    Outputs stay the same bits until B moves. A is a function of a layer's name and shape, and the global random state
    is left as it was.
    """
    chosen = sorted(names)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # any number; peft divides it by the rank
        lora_dropout=dropout,
        target_modules="|".join(map(re.escape, chosen)),  # a pattern for the whole name: no other layer can fit
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="fan_in_fan_out"
        )  # peft finds out by itself which layers are transposed
        inject_adapter_in_model(config, model, ADAPTER)
    layers = lora_layers(model)
    assert sorted(layers) == chosen, "peft has put LoRA layers elsewhere"
    for name, layer in layers.items():
        # Drawn on the CPU, as peft draws it otherwise (He et al., arXiv 1502.01852, as nn.Linear does).
        a, _ = factors(layer)
        drawn = torch.empty(a.shape)
        nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=make_rng(SEED, f"lora:{name}"))
        a.data.copy_(drawn)


def factors(layer: LoraLinear) -> tuple[Tensor, Tensor]:
    """(A [rank, in], B [out, rank])."""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert isinstance(a, Tensor)
    assert isinstance(b, Tensor)
    return a, b


def rank_of(layer: LoraLinear) -> int:
    """Columns of B and rows of A."""
    return int(layer.r[ADAPTER])


def base_weight(layer: LoraLinear) -> Tensor:
    """The frozen weight below: W [out, in], of a Conv1D its transpose."""
    weight = layer.get_base_layer().weight
    assert isinstance(weight, Tensor)
    return weight


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Within the context the model has its plain linear layers under their own names, LoRA folded into their weights.

    The base's tensors are put aside and not changed, so that afterwards they are the same bits; subtracting what was
    added would not give them back.
    """
    layers = lora_layers(model)
    weights = {name: base_weight(layer) for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            plain = layer.get_base_layer()
            merged_weight = folded(weights[name], *factors(layer), layer.scaling[ADAPTER], layer.fan_in_fan_out)
            plain.weight = nn.Parameter(merged_weight, requires_grad=False)
            _put(model, name, plain)
        yield
    finally:
        for name, layer in layers.items():
            layer.get_base_layer().weight = weights[name]
            _put(model, name, layer)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


@torch.no_grad()
def update_ratio(model: nn.Module) -> Tensor:
    """Frobenius norm of all updates over that of all the weights that they update, a scalar.

    ||B A||^2 = sum((B^T B) * (A A^T)): two rank x rank matrices in the place of the product.
    """
    updates, weights = [], []
    for layer in lora_layers(model).values():
        a, b = (factor.float() for factor in factors(layer))
        updates.append(layer.scaling[ADAPTER] ** 2 * ((b.T @ b) * (a @ a.T)).sum())
        weights.append(torch.linalg.vector_norm(base_weight(layer), dtype=torch.float32).square())
    return (torch.stack(updates).sum().clamp(min=0) / torch.stack(weights).sum()).sqrt()
