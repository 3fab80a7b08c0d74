"""What of the self-distillation target v(t, t, X) is differentiated (arXiv:2505.18825 discusses the choice).

The target comes from the network that is trained. If its parameters took part, the network could lower the
loss by moving the target to the map and not the map to the target. Upstream (training/modules/samplers.py)
has both modes here and calls them "minimal" and "classic"; minimal is its default.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import nn
from torch.func import functional_call

from calm_ft.flow.heads import ConditionalVelocityFn


class StopGradient(ABC):
    """Makes the target velocity out of the trained head."""

    @abstractmethod
    def target(self, head: nn.Module) -> ConditionalVelocityFn:
        """A function `(cond [N, D], s [N, 1], t [N, 1], x [N, C]) -> [N, C]` of the head's values."""


@final
class FreezeTargetParameters(StopGradient):
    """Constant in parameters and condition, differentiated through the point x at which it is evaluated.

    The condition is the backbone's output, so leaving it attached would train the backbone through the
    target.
    """

    def target(self, head: nn.Module) -> ConditionalVelocityFn:
        frozen = {name: parameter.detach() for name, parameter in head.named_parameters()}

        def velocity(cond: torch.Tensor, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return functional_call(head, frozen, (cond.detach(), s, t, x))

        return velocity


@final
class DetachTarget(StopGradient):
    """A constant: no gradient of any kind passes the target."""

    def target(self, head: nn.Module) -> ConditionalVelocityFn:
        def velocity(cond: torch.Tensor, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return head(cond, s, t, x)

        return velocity
