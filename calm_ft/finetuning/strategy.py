"""Strategies: which components of an adapter train, and at which rate.

A strategy selects components by their role and stack (see `calm_ft.adapters.base.Component`), so it works for every
system. Names are what people write in settings; a name that fits no component is refused.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from calm_ft.adapters.base import Component, FitsVocabulary, HasFittedState, TTSAdapter
from calm_ft.data.feature_cache import Features
from calm_ft.errors import UserError

LOSS, VOICE = "loss", "voice"


@dataclass(frozen=True)
class ComponentPlan:
    """One row of the table at the start of a run; lr is None where the component is frozen.

    num_parameters: the model's own; num_trained: how many train, of these or beside them.
    """

    name: str
    num_parameters: int
    lr: float | None
    num_trained: int


@dataclass(frozen=True)
class TrainedComponent:
    """A component that trains, at `lr_factor` times the optimizer's rate, or times its own `lr` if it has one.

    blocks: repeated blocks of it, whose matrices are hidden weights.
    """

    name: str
    module: nn.Module
    lr_factor: float
    blocks: tuple[nn.Module, ...] = ()
    lr: float | None = None

    def rate(self, optimizer_lr: float) -> float:
        """The rate at which it trains under an optimizer's rate."""
        return self.lr_factor * (optimizer_lr if self.lr is None else self.lr)


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
    def select(self, components: Mapping[str, Component]) -> set[str]:
        """The names among `components`, which are those that can train, of those that do train.

        Raises UserError where the adapter lacks what is asked for.
        """

    def selected(self, adapter: TTSAdapter) -> set[str]:
        """The names of the components of an adapter that train; what weighs the loss is always among them.

        Raises UserError where there are none.
        """
        parts = adapter.components()
        return self._selected_parts(adapter) | {name for name, part in parts.items() if part.role == LOSS}

    def _selected_parts(self, adapter: TTSAdapter) -> set[str]:
        """The names of the model's own components that train. Raises UserError where there are none."""
        parts = adapter.components().items()
        trainable = {name: part for name, part in parts if part.trainable and self._may_select(part)}
        selected = self.select(trainable)
        if not selected:
            raise UserError(
                f"The strategy {type(self).__name__} selects none of the components {', '.join(trainable)} that can "
                "train here: choose another strategy, or an experiment made for this adapter."
            )
        return selected

    def _may_select(self, part: Component) -> bool:
        """Whether a part is one of the model's own; what was learned of a voice stays as it is."""
        return part.role not in (LOSS, VOICE)

    def apply(self, adapter: TTSAdapter, lr: float) -> list[ComponentPlan]:
        """Set requires_grad on every parameter; returns what trains at which rate.

        Raises UserError where nothing is selected, or a rate is set for what does not train.
        """
        self._check_factors(self.selected(adapter))
        parts = adapter.components()
        sizes = {name: self._num_parameters(part.module) for name, part in parts.items()}
        adapter.requires_grad_(False)
        trained = {component.name: component for component in self.trained_components(adapter)}
        for name, component in trained.items():
            if parts[name].role == LOSS:
                component.module.requires_grad_(True)
            else:
                self._enable(component.module)
        plans = []
        for name, part in parts.items():
            num_trained = sum(p.numel() for p in part.module.parameters() if p.requires_grad)
            rate = trained[name].rate(lr) if name in trained else None
            plans.append(ComponentPlan(name, sizes[name], rate, num_trained))
        self.set_modes(adapter)
        return plans

    def begin(self, adapter: TTSAdapter) -> None:  # noqa: B027 - most strategies begin with the model's own weights
        """Put the weights into an adapter that training starts from, where those are not the model's own.

        Raises UserError where they cannot be had or do not fit.
        """

    def begin_with(self, adapter: TTSAdapter, clips: Iterable[Features]) -> None:  # noqa: B027 - as `begin`
        """Put into an adapter what training starts from, where that comes from the training clips.

        Called after `begin`, before the first step.
        """

    def _num_parameters(self, component: nn.Module) -> int:
        """The model's own parameters in a component."""
        return sum(p.numel() for p in component.parameters())

    def _enable(self, component: nn.Module) -> None:
        """Let a component train."""
        component.requires_grad_(True)

    def trained_components(self, adapter: TTSAdapter) -> list[TrainedComponent]:
        """What trains, for an optimizer."""
        parts, selected = adapter.components(), self.selected(adapter)
        return [
            TrainedComponent(name, part.module, self._factor(name), part.hidden_blocks, part.lr)
            for name, part in parts.items()
            if name in selected
        ]

    @contextmanager
    def merged(self, adapter: TTSAdapter) -> Iterator[None]:
        """Within the context the adapter is a plain upstream model that holds in its weights what was learned."""
        yield

    def figures(self, adapter: TTSAdapter) -> dict[str, Tensor]:
        """Scalars about what was learned so far, to log while training."""
        return {}

    def warnings(self, adapter: TTSAdapter) -> list[str]:
        """Sentences about what was learned, to be said at the end of training."""
        return []

    def save(self, adapter: TTSAdapter, directory: Path) -> None:  # noqa: B027 - most need no file beside the export
        """Write what was learned as a file of its own into a run's folder, where there is such a file.

        Raises OSError where it cannot be written.
        """

    def set_modes(self, adapter: TTSAdapter) -> None:
        """Train mode for what trains, eval mode for what is frozen."""
        adapter.eval()
        for component in self.trained_components(adapter):
            component.module.train()

    def _factor(self, component: str) -> float:
        """The factor of the longest name that fits."""
        fitting = [name for name in self.lr_factors if names(name, component)]
        return float(self.lr_factors[max(fitting, key=len)]) if fitting else 1.0

    def _check_factors(self, selected: set[str]) -> None:
        for name in self.lr_factors:
            if not any(names(name, component) for component in selected):
                raise UserError(
                    f"strategy.lr_factors.{name} sets a rate for what does not train; what trains here: "
                    f"{', '.join(sorted(selected))}."
                )

    def trainable_state(self, adapter: TTSAdapter) -> dict[str, Tensor]:
        """What a checkpoint holds: trained parameters and what was taken from the data, under upstream's names."""
        trained = {name: p.detach() for name, p in adapter.named_parameters() if p.requires_grad}
        fitted = adapter.fitted_state() if isinstance(adapter, HasFittedState) else {}
        return {**fitted, **trained}

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
        if isinstance(adapter, FitsVocabulary):
            adapter.renew_vocabulary()


class HeadOnly(Strategy):
    """The heads alone: what turns the output of a stack into a frame or a token, and what ends a sentence."""

    def select(self, components: Mapping[str, Component]) -> set[str]:
        return {name for name, part in components.items() if part.role == "head"}


class LastNLayers(Strategy):
    """The last layers of a stack with what follows them, the output norm and the heads.

    Of a system with several stacks that the loss reaches, the last layers of each stack train.
    """

    def __init__(self, num_layers: int, lr_factors: Mapping[str, float] | None = None) -> None:
        """Raises UserError for less than one layer."""
        super().__init__(lr_factors)
        if not isinstance(num_layers, int) or isinstance(num_layers, bool) or num_layers < 1:
            raise UserError(f"strategy.num_layers={num_layers} must be an integer of at least 1.")
        self.num_layers = num_layers

    def select(self, components: Mapping[str, Component]) -> set[str]:
        """Raises UserError where the loss reaches no layer, or a stack has fewer layers than are asked for."""
        stacks: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for name, part in components.items():
            if part.role == "layer":
                assert part.stack is not None
                assert part.layer_index is not None
                stacks[part.stack].append((part.layer_index, name))
        if not stacks:
            raise UserError(
                "The strategy LastNLayers finds no stack of layers that the loss reaches: choose another one, such as "
                "strategy=full."
            )
        for stack, layers in stacks.items():
            if self.num_layers > len(layers):
                raise UserError(
                    f"strategy.num_layers={self.num_layers}, but the {stack} of this model has {len(layers)} layers: "
                    "choose fewer."
                )
        last = {name for layers in stacks.values() for _, name in sorted(layers)[-self.num_layers :]}
        return last | {name for name, part in components.items() if part.role in ("output_norm", "head")}


class Full(Strategy):
    """Everything that the loss reaches, but what is to be frozen."""

    def __init__(
        self, freeze_components: Sequence[str] | None = None, lr_factors: Mapping[str, float] | None = None
    ) -> None:
        """freeze_components: components, or the beginnings of several (`t3` names all of T3), that stay as they are."""
        super().__init__(lr_factors)
        self.freeze_components = list(freeze_components or ())

    def select(self, components: Mapping[str, Component]) -> set[str]:
        return {name for name in components if not any(names(frozen, name) for frozen in self.freeze_components)}

    def apply(self, adapter: TTSAdapter, lr: float) -> list[ComponentPlan]:
        """As for every strategy; raises UserError also where `freeze_components` names nothing of the adapter."""
        for frozen in self.freeze_components:
            if not any(names(frozen, name) for name in adapter.components()):
                raise UserError(
                    f"strategy.freeze_components names {frozen}, which the adapter has not; it has: "
                    f"{', '.join(adapter.components())}."
                )
        return super().apply(adapter, lr)


def names(prefix: str, component: str) -> bool:
    """Whether `prefix` is the component's name or begins it up to a dot: backbone names backbone.layers.3."""
    return component == prefix or component.startswith(f"{prefix}.")
