"""Losses run in float32 or wider, whatever the autocast around them.

Under bf16 autocast the forward-mode derivative is itself bf16, and the residual is a difference of two close
numbers: bf16 keeps fewer than three significant digits. A head that multiplies numbers of bfloat16 itself, and keeps
what lies between the products in float32, may do so.
"""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Autocast off for the device's type, where it has any."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device_type=device.type, enabled=False)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """x in float32 if it was narrower; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the autocast around would have the device multiply numbers of bfloat16."""
    kind = device.type
    if not torch.amp.is_autocast_available(kind):
        return False
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) is torch.bfloat16


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies numbers of bfloat16 faster than those of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
