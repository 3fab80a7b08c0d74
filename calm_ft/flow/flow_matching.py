"""Flow matching on the linear path (arXiv:2210.02747, conditional flow matching, sigma_min = 0).

    x_t = (1 - t) x0 + t x1,     R(t) = v(t, t, x_t) - (x1 - x0)

For a flow map this is the diagonal term: the average velocity over no time is the instantaneous one.
"""

import torch

from calm_ft.flow.heads import VelocityFn
from calm_ft.flow.interpolant import LinearInterpolant

_LINEAR = LinearInterpolant()


def flow_matching_residual(
    velocity_fn: VelocityFn, x0: torch.Tensor, x1: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """Mean over the C channels of the squared residual, `[N]`; x0 and x1 are `[N, C]`, t is `[N, 1]`.

    K draws of noise for each row, x0 `[K, N, C]`, give `[K, N]`.
    """
    x_t = _LINEAR.interpolate(x0, x1, t)
    residual = velocity_fn(t, t, x_t) - _LINEAR.velocity(x0, x1, t)
    return residual.square().mean(dim=-1)
