"""LoRA settings that tests share, and weights that were not zero."""

from typing import Any

import torch
from torch import Tensor, nn

from calm_ft.adapters.base import TTSAdapter
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.lora_layers import factors, lora_layers
from calm_ft.randomness import make_rng

RANK, ALPHA = 4, 10.0
BACKBONE = {"backbone": ["in_proj", "out_proj", "linear1", "linear2"]}
MOVED_BY = 0.05


def lora(**settings: Any) -> Lora:
    return Lora(**{"rank": RANK, "alpha": ALPHA, "targets": BACKBONE, **settings})


def with_lora(adapter: TTSAdapter, **settings: Any) -> Lora:
    """The strategy, applied, with B as if training had moved it."""
    strategy = lora(**settings)
    strategy.apply(adapter, 1e-3)
    move(adapter)
    return strategy


def move(adapter: nn.Module) -> None:
    for index, layer in enumerate(lora_layers(adapter).values()):
        _, b = factors(layer)
        b.data.copy_(MOVED_BY * torch.randn(b.shape, generator=make_rng(0, "test", index)))


def bits(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, copied."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def own_bits(module: nn.Module) -> dict[str, Tensor]:
    """The model's own ones, whether LoRA layers stand before them or not."""
    return {name.replace(".base_layer.", "."): t for name, t in bits(module).items() if ".lora_" not in name}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
