"""Exponential moving average of the trained parameters, with a warm-up of its decay.

    decay_n = min(decay, (1 + n) / (10 + n))        after n updates

Without the warm-up an early average is still mostly the base model (a complaint that users of such tools make), and
a run of a few hundred steps would judge the base under the name of the tuned one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """Shadow of the parameters that require gradients."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """decay in [0, 1); 0 keeps the shadow equal to the weights."""
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.shadow = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the shadow towards the weights; call once an optimizer step."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        self.shadow = {name: self.shadow[name].to(p.device) for name, p in self._parameters.items()}
        torch._foreach_lerp_(list(self.shadow.values()), list(self._parameters.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the module's weights are the shadow's."""
        raw = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._copy(self.shadow)
        try:
            yield
        finally:
            self._copy(raw)

    @torch.no_grad()
    def _copy(self, source: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(source[name])

    def state_dict(self) -> dict:
        """Shadow and number of updates, for a checkpoint."""
        return {"shadow": self.shadow, "num_updates": self.num_updates}

    def load_state_dict(self, state: Mapping) -> None:
        """Continue from a checkpoint's average."""
        self.shadow = {name: tensor.clone() for name, tensor in state["shadow"].items()}
        self.num_updates = int(state["num_updates"])
