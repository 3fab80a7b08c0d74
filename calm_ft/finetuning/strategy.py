"""Strategies: which components of an adapter train, at which rate.

A strategy selects by component name, so it works for every adapter; a name that selects nothing is refused.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from calm_ft.adapters.base import TTSAdapter
from calm_ft.errors import UserError

HEADS = ("flow_head", "eos_head", "objective")
OUTPUT_NORM = "backbone.output"


@dataclass(frozen=True)
class ComponentPlan:
    """One row of the table at the start of a run; lr is None where the component is frozen."""

    name: str
    num_parameters: int
    lr: float | None


@dataclass(frozen=True)
class TrainedComponent:
    """A component that trains, at `lr_factor` times the optimizer's rate."""

    name: str
    module: nn.Module
    lr_factor: float


class Strategy(ABC):
    """Selects components; everything else is frozen and stays in eval mode."""

    def __init__(self, lr_factors: Mapping[str, float] | None = None) -> None:
        """lr_factors: component, or the beginning of several (`backbone`), -> factor on the optimizer's rate.

        Raises UserError for a factor that is not positive.
        """
        self.lr_factors = dict(lr_factors or {})
        for name, factor in self.lr_factors.items():
            number = isinstance(factor, int | float) and not isinstance(factor, bool)
            if not number or not 0 < factor < math.inf:
                raise UserError(f"strategy.lr_factors.{name}={factor} must be a number more than 0.")

    @abstractmethod
    def select(self, components: Sequence[str]) -> set[str]:
        """The names among `components` that train.

        Raises UserError where the adapter has not what is asked for.
        """

    def apply(self, adapter: TTSAdapter, lr: float) -> list[ComponentPlan]:
        """Set requires_grad on every parameter; returns what trains at which rate.

        Raises UserError where nothing is selected, or a rate is set for what does not train.
        """
        parts = adapter.components()
        selected = self.select(list(parts))
        if not selected:
            raise UserError(
                f"The strategy {type(self).__name__} selects none of the components "
                f"{', '.join(parts)} of this adapter: choose another strategy."
            )
        self._check_factors(selected)
        adapter.requires_grad_(False)
        plans = []
        for name, part in parts.items():
            part.requires_grad_(name in selected)
            num_parameters = sum(p.numel() for p in part.parameters())
            plans.append(ComponentPlan(name, num_parameters, lr * self._factor(name) if name in selected else None))
        self.set_modes(adapter)
        return plans

    def trained_components(self, adapter: TTSAdapter) -> list[TrainedComponent]:
        """What trains, for an optimizer."""
        parts = adapter.components()
        selected = self.select(list(parts))
        return [TrainedComponent(name, part, self._factor(name)) for name, part in parts.items() if name in selected]

    def set_modes(self, adapter: TTSAdapter) -> None:
        """Train mode for what trains, eval mode for what is frozen."""
        adapter.eval()
        for component in self.trained_components(adapter):
            component.module.train()

    def _factor(self, component: str) -> float:
        """The factor of the longest name that fits."""
        fitting = [name for name in self.lr_factors if _names(name, component)]
        return float(self.lr_factors[max(fitting, key=len)]) if fitting else 1.0

    def _check_factors(self, selected: set[str]) -> None:
        for name in self.lr_factors:
            if not any(_names(name, component) for component in selected):
                raise UserError(
                    f"strategy.lr_factors.{name} sets a rate for what does not train; what trains here: "
                    f"{', '.join(sorted(selected))}."
                )

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

    def select(self, components: Sequence[str]) -> set[str]:
        return {name for name in components if name in HEADS}


class LastNLayers(Strategy):
    """The last layers of the backbone with everything after them: output norm and heads."""

    def __init__(self, num_layers: int, lr_factors: Mapping[str, float] | None = None) -> None:
        """Raises UserError for less than one layer."""
        super().__init__(lr_factors)
        if not isinstance(num_layers, int) or isinstance(num_layers, bool) or num_layers < 1:
            raise UserError(f"strategy.num_layers={num_layers} must be an integer of at least 1.")
        self.num_layers = num_layers

    def select(self, components: Sequence[str]) -> set[str]:
        layers = sorted((name for name in components if re.search(r"\.layers\.\d+$", name)), key=_layer_number)
        if self.num_layers > len(layers):
            raise UserError(
                f"strategy.num_layers={self.num_layers}, but the backbone of this model has {len(layers)} layers: "
                "choose fewer."
            )
        return {name for name in components if name in (*HEADS, OUTPUT_NORM)} | set(layers[-self.num_layers :])


class Full(Strategy):
    """Everything but the codec."""

    def select(self, components: Sequence[str]) -> set[str]:
        return {name for name in components if name != "codec"}


def _names(prefix: str, component: str) -> bool:
    """Whether `prefix` is the component or one of the parts before its dots: backbone names backbone.layers.3."""
    return component == prefix or component.startswith(f"{prefix}.")


def _layer_number(component: str) -> int:
    return int(component.rpartition(".")[2])
