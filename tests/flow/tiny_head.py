"""Upstream's own flow head at toy size, with random weights everywhere."""

import torch
from pocket_tts.modules.mlp import SimpleMLPAdaLN

NUM_CHANNELS = 3
COND_DIM = 4


def tiny_head(num_time_conds: int = 2, dtype: torch.dtype = torch.float64, seed: int = 0) -> SimpleMLPAdaLN:
    torch.manual_seed(seed)
    head = SimpleMLPAdaLN(NUM_CHANNELS, 8, NUM_CHANNELS, COND_DIM, 1, num_time_conds=num_time_conds)
    return head.to(dtype)


def rows(
    num_rows: int, dtype: torch.dtype = torch.float64, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Condition `[N, D]`, noise and data `[N, C]`."""
    rng = torch.Generator().manual_seed(seed)
    cond = torch.randn(num_rows, COND_DIM, generator=rng, dtype=dtype)
    x0, x1 = torch.randn(2, num_rows, NUM_CHANNELS, generator=rng, dtype=dtype)
    return cond, x0, x1


def time_pairs(num_rows: int, dtype: torch.dtype = torch.float64, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorted times `[N, 1]`."""
    rng = torch.Generator().manual_seed(seed)
    times = torch.rand(num_rows, 2, generator=rng, dtype=dtype).sort(dim=-1).values
    return times[:, :1], times[:, 1:]
