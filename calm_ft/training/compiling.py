"""torch.compile for training, where it is asked for and can be had."""

from collections.abc import Callable
from typing import Literal

import torch

from calm_ft.adapters.base import TTSAdapter


def compile_training(
    setting: bool | Literal["auto"], adapter: TTSAdapter, device: torch.device, say: Callable[[str], None]
) -> None:
    """Compile what a step computes most; where that cannot be done, say so and leave everything as it is.

    Compiled and plain steps have the same values but for rounding. The first steps take up to a minute or two more.
    """
    if setting is False or (setting == "auto" and not (device.type == "cuda" and trains_layers(adapter))):
        return
    fault = compiler_fault(device)
    if fault is not None:
        say(f"nothing is compiled, for torch.compile does not work on this machine: {fault}")
        return
    adapter.compile_training()
    say("torch.compile is on: the first steps take a minute or so longer, and all later ones less")


def trains_layers(adapter: TTSAdapter) -> bool:
    """Whether layers of a stack train; heads alone gain nothing from being compiled."""
    layers = (each for each in adapter.components().values() if each.role == "layer")
    return any(parameter.requires_grad for each in layers for parameter in each.module.parameters())


def compiler_fault(device: torch.device) -> str | None:
    """Why a small function cannot be compiled for a device, such as a missing C compiler; None where it can."""

    def small(x: torch.Tensor) -> torch.Tensor:
        return (x * 2).sin() + 1

    try:
        torch.compile(small)(torch.ones(8, device=device))
    except Exception as error:  # whatever compilers raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0][:200] if lines else type(error).__name__
    return None
