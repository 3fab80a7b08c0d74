"""Strategies: which components of an adapter train, at which rate.

A strategy selects by component name, so it works for every adapter; a name that selects nothing is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from calm_ft.adapters.base import TTSAdapter
from calm_ft.errors import UserError


@dataclass(frozen=True)
class ComponentPlan:
    """One row of the table at the start of a run; lr is None where the component is frozen."""

    name: str
    num_parameters: int
    lr: float | None


class Strategy(ABC):
    """Selects components; everything else is frozen and stays in eval mode."""

    @abstractmethod
    def selects(self, component: str) -> bool:
        """Whether the component with this name trains."""

    def apply(self, adapter: TTSAdapter, lr: float) -> list[ComponentPlan]:
        """Set requires_grad on every parameter; returns what trains at which rate.

        Raises UserError where nothing is selected.
        """
        plans = []
        adapter.requires_grad_(False)
        for name, part in adapter.components().items():
            trains = self.selects(name)
            part.requires_grad_(trains)
            num_parameters = sum(p.numel() for p in part.parameters())
            plans.append(ComponentPlan(name, num_parameters, lr if trains else None))
        if not any(plan.lr is not None for plan in plans):
            raise UserError(
                f"The strategy {type(self).__name__} selects none of the components "
                f"{', '.join(plan.name for plan in plans)} of this adapter: choose another strategy."
            )
        self.set_modes(adapter)
        return plans

    def set_modes(self, adapter: TTSAdapter) -> None:
        """Train mode for what trains, eval mode for what is frozen."""
        adapter.eval()
        for name, part in adapter.components().items():
            part.train(self.selects(name))

    def trainable_state(self, adapter: TTSAdapter) -> dict[str, Tensor]:
        """What a checkpoint holds: trained parameters and statistics fitted to the data, under upstream's names."""
        trained = {name: p.detach() for name, p in adapter.named_parameters() if p.requires_grad}
        return {**trained, **adapter.fitted_state()}

    def load_state(self, adapter: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put a checkpoint's weights into an adapter.

        Raises UserError where a tensor is unknown or of another shape: the checkpoint of another model.
        """
        own = {**dict(adapter.named_parameters()), **dict(adapter.named_buffers())}
        for name, tensor in state.items():
            if name not in own or own[name].shape != tensor.shape:
                raise UserError(
                    f"The checkpoint does not fit the model (tensor {name}): use the model and configuration "
                    "of the run that made it."
                )
        for name, tensor in state.items():
            own[name].data.copy_(tensor)


class HeadOnly(Strategy):
    """The flow head and the EOS head: what turns a backbone output into a frame, and what ends."""

    def selects(self, component: str) -> bool:
        return component in ("flow_head", "eos_head", "objective")


class Full(Strategy):
    """Everything but the codec."""

    def selects(self, component: str) -> bool:
        return component != "codec"
