"""How this package calls a flow head.

A head is an nn.Module that is called as `head(cond [N, D], *times, x [N, C]) -> [N, C]`, each time `[N, 1]`,
and that states how many times it takes in its attribute `num_time_conds` (upstream's name,
pocket_tts/modules/mlp.py). Two: a flow map's average velocity v(s, t, x). One: an instantaneous velocity v(t,
x). A velocity function has its condition already bound and is always called as `velocity_fn(s, t, x)`; a head
with one time has only the diagonal s = t.
"""

from collections.abc import Callable

import torch
from torch import nn

VelocityFn = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
ConditionalVelocityFn = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def head_time_conditions(head: nn.Module) -> int:
    """How many times the head takes: 2 (LSD), 1 (flow matching), 0 (one-step heads; none is trained here)."""
    return int(head.num_time_conds)  # type: ignore[arg-type]


def bind_condition(head: nn.Module, cond: torch.Tensor) -> VelocityFn:
    """`velocity_fn(s, t, x)` of a head with one or two times; with one, s must equal t and is dropped."""
    if head_time_conditions(head) == 1:
        return lambda s, t, x: head(cond, t, x)
    return lambda s, t, x: head(cond, s, t, x)
