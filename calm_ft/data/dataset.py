"""Batches for a DataLoader: map-style over batch *indices*, so that a run can start at any step.

Convention: an item is a whole batch, made by a `collate` function from a list of `Example`s. Which clips,
which prompts and which seeds it gets is a function of (seed, index, row) alone; workers, ranks and resumption
cannot change it.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.utils.data import Dataset

from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.prompts import PromptPool
from calm_ft.randomness import derive_seed, make_rng

__all__ = ["BatchPlan", "Example", "TrainingBatches", "ValidationBatches"]

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Example:
    """One row of a batch; `seed` is for whatever its collation draws, such as where the prompt is cut."""

    target: EncodedUtterance
    prompt: EncodedUtterance | None
    seed: int


class TrainingBatches(Dataset[BatchT]):
    """The first `num_batches` batches of an endless plan, prompts drawn anew for each."""

    def __init__(
        self,
        encoded: Sequence[EncodedUtterance],
        prompt_pool: PromptPool,
        plan: BatchPlan,
        collate: Callable[[list[Example]], BatchT],
        num_batches: int,
        seed: int,
    ) -> None:
        self.encoded = encoded
        self.prompt_pool = prompt_pool
        self.plan = plan
        self.collate = collate
        self.num_batches = num_batches
        self.seed = seed

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> BatchT:
        """The index-th batch; raises IndexError outside `[0, num_batches)`."""
        _check_index(index, len(self))
        rows = enumerate(self.plan.batch(index))
        return self.collate([self._example(self.encoded[place], index, row) for row, place in rows])

    def _example(self, target: EncodedUtterance, index: int, row: int) -> Example:
        rng = make_rng(self.seed, "prompt", index, row)
        seed = int(torch.randint(2**62, (), generator=rng))
        return Example(target, self.prompt_pool.choose(target, rng), seed)


class ValidationBatches(Dataset[BatchT]):
    """Every validation clip once, in the order of the plan's first epoch.

    A clip's prompt and seed depend on its id only: they are the same at every validation, and stay so when
    the batch size changes.
    """

    def __init__(
        self,
        encoded: Sequence[EncodedUtterance],
        prompt_pool: PromptPool,
        plan: BatchPlan,
        collate: Callable[[list[Example]], BatchT],
        seed: int,
    ) -> None:
        self.encoded = encoded
        self.prompt_pool = prompt_pool
        self.plan = plan
        self.collate = collate
        self.seed = seed

    def __len__(self) -> int:
        return self.plan.num_batches_first_epoch

    def __getitem__(self, index: int) -> BatchT:
        """The index-th batch; raises IndexError outside `[0, len)`."""
        _check_index(index, len(self))
        return self.collate([self._example(self.encoded[place]) for place in self.plan.batch(index)])

    def _example(self, target: EncodedUtterance) -> Example:
        # fsencode: an id comes from a file name, which need not be valid Unicode.
        id_hash = int.from_bytes(hashlib.sha256(os.fsencode(target.utterance.id)).digest()[:8], "big")
        rng = make_rng(self.seed, "validation_prompt", id_hash)
        prompt = self.prompt_pool.choose(target, rng)
        return Example(target, prompt, derive_seed(self.seed, "validation_example", id_hash))


def _check_index(index: int, length: int) -> None:
    if not 0 <= index < length:
        raise IndexError(f"there is no batch {index} among {length}")
