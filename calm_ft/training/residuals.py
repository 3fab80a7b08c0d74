"""Validation figures: means over all valid frames of unweighted residuals.

`residual` is what checkpoints are chosen by and runs compare by; what it is of, the adapter says.
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
        frames = rows.num_frames.cpu().double()  # first to the CPU: an MPS device has no float64
        self._num_frames += float(frames.sum())
        for name, values in rows.values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float((values.cpu().double() * frames).sum())

    def joined(self, num_ranks: int) -> "ResidualMean":
        """The mean over all processes' rows; a process may have none."""
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
    """Residual means of the adapter as it is over some batches."""
    mean = ResidualMean()
    device = next(adapter.parameters()).device
    for batch in batches:
        mean.add(adapter.residuals(to_device(batch, device), seed))
    return mean.means()


def to_device(batch: Any, device: Any) -> Any:
    """Move a batch as Lightning does."""
    from lightning.pytorch.utilities import move_data_to_device

    return move_data_to_device(batch, device)
