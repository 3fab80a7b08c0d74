"""Validation figures: means of unweighted residuals over all valid frames.

Checkpoints are chosen and runs compared by the one named `residual`; the adapter defines what it measures.
"""

from collections.abc import Iterable
from typing import Any

import torch

from calm_ft.adapters.base import RowResiduals, TTSAdapter


class ResidualMean:
    """Running mean, weighted by frames."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._num_frames = 0.0

    def add(self, rows: RowResiduals) -> None:
        """Add one batch's rows."""
        frames = rows.num_frames.double().cpu()
        self._num_frames += float(frames.sum())
        for name, values in rows.values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float((values.double().cpu() * frames).sum())

    def joined(self, num_ranks: int) -> "ResidualMean":
        """The mean over the rows of all processes; a process may have none."""
        if num_ranks == 1:
            return self
        parts: list[Any] = [None] * num_ranks
        torch.distributed.all_gather_object(parts, (self._sums, self._num_frames))
        whole = ResidualMean()
        whole._sums = {name: sum(sums.get(name, 0.0) for sums, _ in parts) for sums, _ in parts for name in sums}
        whole._num_frames = sum(num_frames for _, num_frames in parts)
        return whole

    def means(self) -> dict[str, float]:
        """Every named residual."""
        return {name: total / self._num_frames for name, total in self._sums.items()}


def mean_residuals(adapter: TTSAdapter, batches: Iterable[Any], seed: int) -> dict[str, float]:
    """Means of the adapter's residuals over some batches, with its present weights."""
    mean = ResidualMean()
    device = next(adapter.parameters()).device
    for batch in batches:
        mean.add(adapter.residuals(to_device(batch, device), seed))
    return mean.means()


def to_device(batch: Any, device: Any) -> Any:
    """Move a batch as Lightning does."""
    from lightning.pytorch.utilities import move_data_to_device

    return move_data_to_device(batch, device)
