"""Interpolants between noise and data, and what each asks of a head that lives on the linear path.

    linear   x_t   = (1 - t) x0 + t x1
    cosine   y_tau = cos(a tau) x0 + sin(a tau) x1,   a = pi / 2   (trigonometric, arXiv:2209.15571)

The released heads were trained on the linear path, and stock inference integrates them there. The cosine
schedule is therefore reached by a change of variables that leaves the head in its own coordinates. With c =
cos(a tau) + sin(a tau) and t(tau) = sin(a tau) / c, path by path,

    y_tau = c x_{t(tau)},   Y_{sigma,tau}(y) = c(tau) X_{t(sigma),t(tau)}(y / c(sigma)),   R_cos = (a / c)
    R_lin,

R being the residual vector of flow matching or of LSD (tau is then the end time). Since 1 / c^2 = t^2 + (1 -
t)^2, the whole schedule is a law of times and a weight on the linear losses: `head_time` and
`residual_weight`. Both are functions of the schedule's own time tau; for the linear path they are the
identity and one.
"""

import math
from abc import ABC, abstractmethod
from typing import final

import torch

QUARTER_TURN = math.pi / 2


class Interpolant(ABC):
    """A path from noise to data. Times are `[N, 1]`, points `[N, C]`."""

    @abstractmethod
    def interpolate(self, x0: torch.Tensor, x1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The point `[N, C]` of the path at time t."""

    @abstractmethod
    def velocity(self, x0: torch.Tensor, x1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The path's time derivative `[N, C]` at time t."""

    @abstractmethod
    def head_time(self, tau: torch.Tensor) -> torch.Tensor:
        """The linear path's time `[N, 1]` that belongs to this path's time tau; increasing from 0 to 1."""

    @abstractmethod
    def residual_weight(self, tau: torch.Tensor) -> torch.Tensor:
        """The factor `[N, 1]` that turns a squared residual on the linear path into this path's own."""


@final
class LinearInterpolant(Interpolant):
    """The straight path of flow matching (arXiv:2210.02747 with sigma_min = 0); the released heads' own."""

    def interpolate(self, x0: torch.Tensor, x1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (1 - t) * x0 + t * x1

    def velocity(self, x0: torch.Tensor, x1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (x1 - x0).expand_as(self.interpolate(x0, x1, t))

    def head_time(self, tau: torch.Tensor) -> torch.Tensor:
        return tau

    def residual_weight(self, tau: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(tau)


@final
class CosineInterpolant(Interpolant):
    """The quarter circle: keeps the variance of unit-variance data constant along the path."""

    def interpolate(self, x0: torch.Tensor, x1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.cos(QUARTER_TURN * t) * x0 + torch.sin(QUARTER_TURN * t) * x1

    def velocity(self, x0: torch.Tensor, x1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return QUARTER_TURN * (torch.cos(QUARTER_TURN * t) * x1 - torch.sin(QUARTER_TURN * t) * x0)

    def head_time(self, tau: torch.Tensor) -> torch.Tensor:
        sine = torch.sin(QUARTER_TURN * tau)
        return sine / (sine + torch.cos(QUARTER_TURN * tau))

    def residual_weight(self, tau: torch.Tensor) -> torch.Tensor:
        t = self.head_time(tau)
        return QUARTER_TURN**2 * (t**2 + (1 - t) ** 2)
