"""What a run will take of its device's memory, estimated before the first step.

    weights + what trains (its gradient, two moments of AdamW, its running average) + what the largest batch keeps

The last is measured: the loss of a few rows of that batch is computed once, what it keeps for the backward pass is
counted, and scaled to the whole batch by frames.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.dataset import Example
from calm_ft.randomness import make_rng
from calm_ft.training.datamodule import RecordingsDataModule
from calm_ft.training.residuals import to_device

COPIES_OF_WHAT_TRAINS = 4
SHARE_OF_ROWS = 4
MIN_ROWS = 2


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes; the largest batch has so many rows, of which the longest has so many frames."""

    weights: int
    training: int
    largest_batch: int
    num_rows: int
    max_frames: int

    @property
    def total(self) -> int:
        return self.weights + self.training + self.largest_batch

    def __str__(self) -> str:
        sizes = [f"{size / 1e9:.2f} GB" for size in (self.weights, self.training, self.largest_batch, self.total)]
        weights, training, largest, total = sizes
        return (
            f"memory: {weights} of weights, {training} for what trains, {largest} for the largest batch "
            f"({self.num_rows} clips of up to {self.max_frames} frames): about {total}, beside what torch itself takes"
        )


def estimate_memory(adapter: TTSAdapter, batches: RecordingsDataModule, seed: int) -> MemoryEstimate:
    """Of the adapter as it is set up for training, on its device."""
    parameters = list(adapter.parameters())
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    rows = largest_batch(batches)
    num_probed = min(len(rows), max(MIN_ROWS, len(rows) // SHARE_OF_ROWS))
    probed = [rows[round(place * (len(rows) - 1) / max(1, num_probed - 1))] for place in range(num_probed)]
    kept = kept_for_backward(adapter, to_device(adapter.collate(probed), parameters[0].device), seed)
    frames, probed_frames = (sum(row.target.num_frames for row in each) for each in (rows, probed))
    return MemoryEstimate(
        weights=sum(tensor.numel() * tensor.element_size() for tensor in (*parameters, *adapter.buffers())),
        training=COPIES_OF_WHAT_TRAINS * trained,
        largest_batch=round(kept * frames / probed_frames),
        num_rows=len(rows),
        max_frames=max(row.target.num_frames for row in rows),
    )


def largest_batch(batches: RecordingsDataModule) -> list[Example]:
    """The rows, the longest first, of the batch of the first epoch that has most padded frames."""
    return batches.training_rows(index_of_largest(batches.plan))


def index_of_largest(plan: BatchPlan) -> int:
    """Which batch of a plan's first epoch has most padded frames."""
    numbers = range(plan.num_batches_first_epoch)
    return max(numbers, key=lambda index: len(plan.batch(index)) * int(plan.num_frames[plan.batch(index)].max()))


def kept_for_backward(adapter: TTSAdapter, batch: Any, seed: int) -> int:
    """Bytes of all different tensors, parameters apart, that the loss of a batch keeps for the backward pass."""
    own = storages((*adapter.parameters(), *adapter.buffers()))
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # with its graph it would keep itself alive, and all of the batch's outputs

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = adapter.loss(batch, make_rng(seed, "memory"))
    num_bytes = sum(size for place, size in kept.items() if place not in own)
    del output  # until here, so that no address was used twice
    return num_bytes


def storages(tensors: Iterable[Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def ways_to_less_memory(precision: str) -> str:
    """Settings, other than smaller batches, with which a run of this precision takes less; for messages."""
    narrower = "trainer.precision=bf16-mixed, " if precision == "32-true" else ""
    return f"adapter.gradient_checkpointing=true, {narrower}or a strategy that trains less"
