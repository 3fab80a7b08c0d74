"""Validation figures: means of unweighted residuals over all valid frames.

Checkpoints are chosen and runs compared by the one named `residual`; the adapter defines what it measures.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from calm_ft.adapters.base import RowResiduals, TTSAdapter
from calm_ft.report.result import BASE

ONE_STEP_COST = "one_step_cost"
FORGETTING_ROW = "base voices residual"
NO_BASE_VOICES = (
    "not measured: there is no other voice to measure it on; give evaluation.base_voices, a folder with a folder of "
    "recordings for each voice, or replay some"
)


@dataclass(frozen=True)
class BaseVoicesResidual:
    """Base voices' names, how many clips they have together, and their validation batches."""

    names: tuple[str, ...]
    num_clips: int
    batches: DataLoader[Any]


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
        """Every named residual and score, and by what share one step scores worse than many, where both are known."""
        means = {name: total / self._num_frames for name, total in self._sums.items()}
        if means.get("many_step_score"):
            means[ONE_STEP_COST] = means["one_step_score"] / means["many_step_score"] - 1
        return means


def mean_residuals(adapter: TTSAdapter, batches: Iterable[Any], seed: int) -> dict[str, float]:
    """Means of the adapter's residuals over some batches, with its present weights."""
    mean = ResidualMean()
    device = next(adapter.parameters()).device
    for batch in batches:
        mean.add(adapter.residuals(to_device(batch, device), seed))
    return mean.means()


class RunResiduals:
    """A run's residuals by system ("base", "tuned"): on the validation clips, and on base voices if there are any."""

    def __init__(self, validation: Iterable[Any], base_voices: BaseVoicesResidual | None, seed: int) -> None:
        self._validation, self._base_voices, self._seed = validation, base_voices, seed
        self.validation: dict[str, dict[str, float]] = {}
        self.base_voices: dict[str, dict[str, float]] = {}

    def measure(self, adapter: TTSAdapter, system: str) -> dict[str, float]:
        """Measure the adapter as it is; returns the residuals on the validation clips.

        What is learned of a voice is neither the base's nor other voices'.
        """
        with adapter.without_learned_voice() if system == BASE else nullcontext():
            self.validation[system] = mean_residuals(adapter, self._validation, self._seed)
        if self._base_voices is not None:
            with adapter.without_learned_voice():
                self.base_voices[system] = mean_residuals(adapter, self._base_voices.batches, self._seed)
        return self.validation[system]

    def rows(self) -> dict[str, dict[str, float]]:
        """Row title -> system -> residual, for a table."""
        names = dict.fromkeys(name for values in self.validation.values() for name in values)
        rows = {
            f"validation {name}": {system: values[name] for system, values in self.validation.items() if name in values}
            for name in names
        }
        if self.base_voices:
            rows[FORGETTING_ROW] = {system: values["residual"] for system, values in self.base_voices.items()}
        return rows

    def described(self) -> dict[str, Any]:
        """What run.json keeps: residuals by system, and on which base voices, or why on none."""
        known = self._base_voices
        if known is None:
            return {**self.validation, "base_voices": {"reason": NO_BASE_VOICES}}
        about = {"names": list(known.names), "num_clips": known.num_clips}
        return {**self.validation, "base_voices": {**about, **self.base_voices}}


def to_device(batch: Any, device: Any) -> Any:
    """Move a batch as Lightning does."""
    from lightning.pytorch.utilities import move_data_to_device

    return move_data_to_device(batch, device)
