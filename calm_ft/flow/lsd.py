"""Lagrangian self-distillation on the linear path (arXiv:2505.18825).

A flow map carries a point from time s to time t, X_{s,t}(x) = x + (t - s) v(s, t, x). It is the flow of its
own diagonal exactly when it solves the Lagrangian equation

    dX_{s,t}(x) / dt = v(t, t, X_{s,t}(x)),

so the residual is the difference of the two sides at x_s = (1 - s) x0 + s x1. The time derivative is taken in
forward mode, v + (t - s) dv/dt, and the quotient (X - x) / (t - s) is never formed: it cancels near the
diagonal.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from calm_ft.flow.heads import BoundHead, HasTimeDerivative, VelocityFn
from calm_ft.flow.interpolant import LinearInterpolant

_LINEAR = LinearInterpolant()


class FlowMapPoint(NamedTuple):
    """X_{s,t}(x) and its derivative in t, both `[N, C]`."""

    position: torch.Tensor
    time_derivative: torch.Tensor


@contextmanager
def _forward_mode_possible() -> Iterator[None]:
    """Leave inference mode, if in it: there torch.func.jvp returns a zero derivative without a word."""
    records_gradients = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(records_gradients):
        yield


def transport(velocity_fn: VelocityFn, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> FlowMapPoint:
    """Where the flow map takes x `[N, C]` from s to t (`[N, 1]`), and how fast that end point moves with t.

    Gradients flow through both to the velocity's parameters and to whatever it has bound (its condition).
    """
    velocity, velocity_dt = _with_time_derivative(velocity_fn, s, t, x)
    return FlowMapPoint(
        position=x + (t - s) * velocity,
        time_derivative=velocity + (t - s) * velocity_dt,
    )


def _with_time_derivative(
    velocity_fn: VelocityFn, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """v(s, t, x) and dv/dt: the head's own where it has it, else in forward mode."""
    if isinstance(velocity_fn, BoundHead) and isinstance(velocity_fn.head, HasTimeDerivative):
        return velocity_fn.head.velocity_and_derivative(velocity_fn.cond, s, t, x)
    with _forward_mode_possible():
        velocity, velocity_dt = torch.func.jvp(  # type: ignore[misc]
            lambda end: velocity_fn(s, end, x), (t,), (torch.ones_like(t),)
        )
        return velocity, velocity_dt


def lsd_residual(
    velocity_fn: VelocityFn,
    target_velocity_fn: VelocityFn,
    x0: torch.Tensor,
    x1: torch.Tensor,
    s: torch.Tensor,
    t: torch.Tensor,
) -> torch.Tensor:
    """Mean over the C channels of the squared Lagrangian residual, `[N]`.

    Args:
        velocity_fn: the flow map's velocity v(s, t, x), which is trained.
        target_velocity_fn: the velocity that the end point should follow, called on the diagonal only; how
            much of it is differentiated is the caller's choice (`stop_gradient`).
        x0, x1: noise and data, `[N, C]`; K draws of noise for each row, x0 `[K, N, C]`, give `[K, N]`.
        s, t: start and end times, `[N, 1]`, s <= t.
    """
    end = transport(velocity_fn, s, t, _LINEAR.interpolate(x0, x1, s))
    residual = end.time_derivative - target_velocity_fn(t, t, end.position)
    return residual.square().mean(dim=-1)
