"""What of a Chatterbox trains: one objective for T3, one for S3Gen's flow, and both together.

T3 and the flow share no parameter, so that together they train as they would alone, but for the gradient's clipping.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from calm_ft.adapters.base import LossTerm
from calm_ft.adapters.chatterbox.batch import ChatterboxBatch
from calm_ft.adapters.chatterbox.models import Models


@dataclass
class Terms:
    """terms: what is minimised; parts: detached scalars to log."""

    terms: dict[str, LossTerm]
    parts: dict[str, Tensor]


class ChatterboxObjective(ABC):
    """A loss over a batch, with its unweighted residuals."""

    @abstractmethod
    def terms(self, models: Models, batch: ChatterboxBatch, seed: int) -> Terms:
        """Loss terms; what a row draws is a function of (seed, its place)."""

    @abstractmethod
    def residuals(self, models: Models, batch: ChatterboxBatch, seed: int) -> dict[str, Tensor]:
        """Means of each row [B], nothing dropped; the one named by `residual` is what runs compare by.

        What a row draws is a function of (seed, its utterance's id).
        """

    @abstractmethod
    def reaches(self, component: str) -> bool:
        """Whether the loss reaches a component."""


class Joint(ChatterboxObjective):
    """T3's objective and S3Gen's, added."""

    def __init__(self, t3: ChatterboxObjective, s3gen: ChatterboxObjective) -> None:
        self.objectives = [t3, s3gen]

    def terms(self, models: Models, batch: ChatterboxBatch, seed: int) -> Terms:
        each = [objective.terms(models, batch, seed) for objective in self.objectives]
        return Terms(
            {name: term for one in each for name, term in one.terms.items()},
            {name: part for one in each for name, part in one.parts.items()},
        )

    def residuals(self, models: Models, batch: ChatterboxBatch, seed: int) -> dict[str, Tensor]:
        each = [objective.residuals(models, batch, seed) for objective in self.objectives]
        joint = torch.stack([one["residual"] for one in each]).sum(dim=0)
        return {**{name: values for one in each for name, values in one.items()}, "residual": joint}

    def reaches(self, component: str) -> bool:
        return any(objective.reaches(component) for objective in self.objectives)
