"""LoRA as a strategy: small matrices beside chosen linear layers train, the model's own weights stay as they are.

Hu et al., arXiv 2106.09685. A checkpoint holds the LoRA weights alone; an export is the plain model with them folded
in; `lora.safetensors` and the folder `lora` (for peft) in the run's folder hold them by themselves.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from calm_ft.adapters.base import Component, TTSAdapter
from calm_ft.errors import UserError
from calm_ft.finetuning import lora_layers
from calm_ft.finetuning.lora_file import LoraWeights, Targets, check_base, fingerprint, read_lora, save_lora, save_peft
from calm_ft.finetuning.strategy import ComponentPlan, Strategy, names

LORA_FILE, PEFT_FOLDER = "lora.safetensors", "lora"
ALL = "all"
# On the embedded model, ratios up to 0.0065 changed no judged figure beyond doubt (rank 32, 3 seeds a rate); at 0.016
# the voice had changed, at rank 4 (one seed) already at 0.009: benchmarks/results/lora_update_ratio.json.
FAINT_UPDATE = 0.01


class Lora(Strategy):
    """LoRA weights beside the linear layers that are named, component by component."""

    def __init__(
        self,
        rank: int,
        alpha: float,
        targets: Mapping[str, Any],
        dropout: float = 0.0,
        weights: str | None = None,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        """Settings.

        Args:
            rank: columns of B and rows of A.
            alpha: the update is alpha / rank * B A.
            targets: component, or the beginning of several (`backbone`), -> the last parts of the names of linear
                layers in them (`in_proj`), or "all"; None takes an entry out that a default has set. `t3.backbone` may
                be a key or a mapping in a mapping, as a command line writes it.
            dropout: share of a LoRA layer's inputs that a step leaves out. It is drawn by process, not by row.
            weights: a LoRA file to start from, of the same rank, alpha and layers.

        Raises UserError for values out of range, and for targets of another form.
        """
        super().__init__(lr_factors)
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise UserError(f"strategy.rank={rank} must be an integer of at least 1.")
        if not _is_number(alpha) or not 0 < alpha < math.inf:
            raise UserError(f"strategy.alpha={alpha} must be a number more than 0; twice the rank is usual.")
        if not _is_number(dropout) or not 0 <= dropout < 1:
            raise UserError(f"strategy.dropout={dropout} must be a share of at least 0 and below 1.")
        self.rank, self.alpha, self.dropout, self.weights = rank, float(alpha), float(dropout), weights
        self.targets = _checked_targets(targets)

    def select(self, components: Mapping[str, Component]) -> set[str]:
        return {name for name in components if any(names(target, name) for target in self.targets)}

    def _selected_parts(self, adapter: TTSAdapter) -> set[str]:
        """The components that have LoRA layers.

        Raises UserError where a target names nothing of the adapter.
        """
        return {component for component, layers in self._targeted(adapter).items() if layers}

    def apply(self, adapter: TTSAdapter, lr: float) -> list[ComponentPlan]:
        """As of every strategy, after LoRA layers were put into the adapter, unless it has them already.

        Raises ValueError where it has others.
        """
        wanted = sorted({layer for layers in self._targeted(adapter).values() for layer in layers})
        present = lora_layers.lora_layers(adapter)
        if not present:
            lora_layers.inject(adapter, wanted, self.rank, self.alpha, self.dropout)
        elif sorted(present) != wanted or any(lora_layers.rank_of(layer) != self.rank for layer in present.values()):
            raise ValueError("The adapter has LoRA layers of other settings: load it anew.")
        return super().apply(adapter, lr)

    def begin(self, adapter: TTSAdapter) -> None:
        """Start from the file `weights`, if one is set.

        Raises UserError where it is missing, damaged, of other settings, or was made for another base model.
        """
        if self.weights is None:
            return
        path, layers = Path(self.weights).expanduser(), lora_layers.lora_layers(adapter)
        lora = read_lora(path)
        self._check_settings(path, lora, layers)
        check_base(path, lora, {name: lora_layers.base_weight(layer) for name, layer in layers.items()})
        for name, layer in layers.items():
            for own, given in zip(lora_layers.factors(layer), lora.factors[name], strict=True):
                own.data.copy_(given)

    def _check_settings(self, path: Path, lora: LoraWeights, layers: Iterable[str]) -> None:
        for name in ("rank", "alpha"):
            theirs, ours = getattr(lora, name), getattr(self, name)
            if theirs != ours:
                raise UserError(
                    f"strategy.weights={path} has {name} {theirs:g}, but strategy.{name}={ours:g}: set "
                    f"strategy.{name}={theirs:g}, or choose another file."
                )
        if lora.factors.keys() != set(layers):
            raise UserError(
                f"strategy.weights={path} has other layers than strategy.targets name; its own are {lora.targets}: set "
                "these, or choose another file."
            )

    @contextmanager
    def merged(self, adapter: TTSAdapter) -> Iterator[None]:
        """Within the context the adapter has its own plain layers, with LoRA folded into their weights.

        Afterwards its layers and their weights are as they were, bit for bit.
        """
        with lora_layers.merged(adapter):
            yield

    def figures(self, adapter: TTSAdapter) -> dict[str, Tensor]:
        """lora_update_ratio: norm of the updates over that of the weights that they update."""
        return {"lora_update_ratio": lora_layers.update_ratio(adapter)}

    def warnings(self, adapter: TTSAdapter) -> list[str]:
        """Whether the update is too faint to be heard."""
        ratio = float(lora_layers.update_ratio(adapter))
        if ratio >= FAINT_UPDATE:
            return []
        return [
            f"the LoRA update is {100 * ratio:.2g} % of the weights' norm, probably too little to be heard (below "
            f"{100 * FAINT_UPDATE:g} %): raise optimizer.lr, trainer.max_steps or strategy.rank"
        ]

    def save(self, adapter: TTSAdapter, directory: Path) -> None:
        """Write `lora.safetensors`, which `weights` and `merge_lora_file` read, and the folder `lora` for peft."""
        layers = lora_layers.lora_layers(adapter)
        base = fingerprint({name: lora_layers.base_weight(layer) for name, layer in layers.items()})
        factors = {name: lora_layers.factors(layer) for name, layer in layers.items()}
        weights = LoraWeights(self.rank, self.alpha, self.targets, base, factors)
        save_lora(directory / LORA_FILE, weights)
        save_peft(directory / PEFT_FOLDER, weights, (name for name, layer in layers.items() if layer.fan_in_fan_out))

    def _num_parameters(self, component: nn.Module) -> int:
        added = [p for layer in lora_layers.lora_layers(component).values() for p in lora_layers.factors(layer)]
        return super()._num_parameters(component) - sum(p.numel() for p in added)

    def _enable(self, component: nn.Module) -> None:
        for layer in lora_layers.lora_layers(component).values():
            for factor in lora_layers.factors(layer):
                factor.requires_grad_(True)

    def _targeted(self, adapter: TTSAdapter) -> dict[str, set[str]]:
        """Component -> full names of its layers that are targeted.

        Raises UserError where a target names no component, or no linear layer in those that it names.
        """
        known = {id(module): name for name, module in lora_layers.linear_layers(adapter).items()}
        there = {
            component: {known[id(module)] for module in part.module.modules() if id(module) in known}
            for component, part in adapter.components().items()
            if part.trainable
        }
        found: dict[str, set[str]] = {component: set() for component in there}
        for target, leaves in self.targets.items():
            fitting = {component: layers for component, layers in there.items() if names(target, component)}
            _check_target(target, leaves, fitting, there)
            for component, layers in fitting.items():
                found[component] |= {layer for layer in layers if leaves == ALL or _leaf(layer) in leaves}
        return found


def _checked_targets(targets: Mapping[str, Any]) -> Targets:
    if not isinstance(targets, Mapping):
        raise UserError(f"strategy.targets={targets} must name layers by component, as {{backbone: [in_proj]}}.")
    checked: Targets = {}
    for name, leaves in _flat(targets):
        is_list = isinstance(leaves, list | tuple) and bool(leaves) and all(isinstance(leaf, str) for leaf in leaves)
        if leaves is not None and leaves != ALL and not is_list:
            raise UserError(f"strategy.targets.{name}={leaves} must be a list of layers' names, or {ALL}.")
        if leaves is not None:
            checked[name] = ALL if leaves == ALL else list(leaves)
    if not checked:
        raise UserError("strategy.targets is empty: name layers by component, as {backbone: [in_proj, out_proj]}.")
    return checked


def _flat(targets: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, leaves in targets.items():
        if isinstance(leaves, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in _flat(leaves))
        else:
            yield str(name), leaves


def _check_target(
    target: str, leaves: list[str] | str, fitting: Mapping[str, set[str]], there: Mapping[str, set[str]]
) -> None:
    if not fitting:
        raise UserError(
            f"strategy.targets.{target} names no component that can train here; there are: "
            f"{_listed(component for component, layers in there.items() if layers)}."
        )
    leaf_names = {_leaf(layer) for layers in fitting.values() for layer in layers}
    missing = set() if leaves == ALL else set(leaves) - leaf_names
    if missing or not leaf_names:
        raise UserError(
            f"strategy.targets.{target} names {', '.join(sorted(missing)) or ALL}, but the linear layers there are: "
            f"{_listed(sorted(leaf_names)) or 'none'}."
        )


def _listed(found: Iterable[str]) -> str:
    """Names with every number as N, each once."""
    return ", ".join(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".N", name) for name in found))


def _leaf(layer: str) -> str:
    return layer.rpartition(".")[2]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
