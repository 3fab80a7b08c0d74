"""The cosine schedule written out as a flow map of its own, built around a linear head.

This is the other form of what the project trains as a law of times and a weight
(calm_ft/flow/interpolant.py):

    Y_{sigma,tau}(y) = c(tau) X_{t(sigma),t(tau)}(y / c(sigma)),      dY/dtau in forward mode,
    b_cos(y, tau) = (a / c) [(cos a tau - sin a tau) y + v(t, t, y / c)].
"""

from dataclasses import dataclass

import torch

from calm_ft.flow.heads import VelocityFn
from calm_ft.flow.interpolant import QUARTER_TURN, CosineInterpolant

COSINE = CosineInterpolant()


def path_scale(tau: torch.Tensor) -> torch.Tensor:
    """c(tau): a point of the cosine path divided by it lies on the linear path."""
    return torch.sin(QUARTER_TURN * tau) + torch.cos(QUARTER_TURN * tau)


@dataclass(frozen=True)
class CosineWrapper:
    """A linear head's velocity function seen from the cosine path."""

    velocity_fn: VelocityFn

    def flow_map(self, sigma: torch.Tensor, tau: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        s, t = COSINE.head_time(sigma), COSINE.head_time(tau)
        x = y / path_scale(sigma)
        return path_scale(tau) * (x + (t - s) * self.velocity_fn(s, t, x))

    def velocity(self, tau: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        t, scale = COSINE.head_time(tau), path_scale(tau)
        turn = torch.cos(QUARTER_TURN * tau) - torch.sin(QUARTER_TURN * tau)
        return QUARTER_TURN / scale * (turn * y + self.velocity_fn(t, t, y / scale))


def cosine_flow_matching_residual(
    velocity_fn: VelocityFn, x0: torch.Tensor, x1: torch.Tensor, tau: torch.Tensor
) -> torch.Tensor:
    y = COSINE.interpolate(x0, x1, tau)
    residual = CosineWrapper(velocity_fn).velocity(tau, y) - COSINE.velocity(x0, x1, tau)
    return residual.square().mean(dim=-1)


def cosine_lsd_residual(
    velocity_fn: VelocityFn,
    target_velocity_fn: VelocityFn,
    x0: torch.Tensor,
    x1: torch.Tensor,
    sigma: torch.Tensor,
    tau: torch.Tensor,
) -> torch.Tensor:
    y = COSINE.interpolate(x0, x1, sigma)
    wrapper = CosineWrapper(velocity_fn)
    end, end_dtau = torch.func.jvp(  # type: ignore[misc]
        lambda end_time: wrapper.flow_map(sigma, end_time, y), (tau,), (torch.ones_like(tau),)
    )
    return (end_dtau - CosineWrapper(target_velocity_fn).velocity(tau, end)).square().mean(dim=-1)
