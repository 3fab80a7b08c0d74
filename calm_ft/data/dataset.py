"""Batches for a DataLoader: map-style over batch *indices*, so that a run can start at any step.

Convention: an item is a whole batch, made by a `collate` function from a list of `Example`s. Which clips,
which prompts and which seeds it gets is a function of (seed, index, row) alone; workers, ranks and resumption
cannot change it.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.utils.data import Dataset, Sampler

from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.prompts import PromptPool
from calm_ft.randomness import derive_seed, make_rng

__all__ = ["BatchPlan", "Example", "IndicesFrom", "Share", "TrainingBatches", "ValidationBatches"]

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Example:
    """One row of a batch.

    `seed` is for whatever its collation draws, such as where the prompt is cut; `place` is the row's index in the whole
    batch, of which one process may hold a share.
    """

    target: EncodedUtterance
    prompt: EncodedUtterance | None
    seed: int
    place: int = 0


@dataclass(frozen=True)
class Share:
    """Which part of the work is this process's: the rank-th of num_ranks."""

    rank: int = 0
    num_ranks: int = 1


class TrainingBatches(Dataset[BatchT]):
    """The first `num_batches` batches of an endless plan, prompts drawn anew for each.

    Of every batch, a process gets the rows of its share: all of them together once, none twice.
    """

    def __init__(
        self,
        encoded: Sequence[EncodedUtterance],
        prompt_pool: PromptPool,
        plan: BatchPlan,
        collate: Callable[[list[Example]], BatchT],
        num_batches: int,
        seed: int,
        share: Share | None = None,
    ) -> None:
        self.encoded = encoded
        self.prompt_pool = prompt_pool
        self.plan = plan
        self.collate = collate
        self.num_batches = num_batches
        self.seed = seed
        self.share = share or Share()

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> BatchT:
        """The index-th batch; raises IndexError outside `[0, num_batches)`."""
        _check_index(index, len(self))
        rows = list(enumerate(self.plan.batch(index)))[self.share.rank :: self.share.num_ranks]
        return self.collate([self._example(self.encoded[place], index, row) for row, place in rows])

    def _example(self, target: EncodedUtterance, index: int, row: int) -> Example:
        rng = make_rng(self.seed, "prompt", index, row)
        seed = int(torch.randint(2**62, (), generator=rng))
        return Example(target, self.prompt_pool.choose(target, rng), seed, place=row)


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
        return self.collate(
            [self._example(self.encoded[place], row) for row, place in enumerate(self.plan.batch(index))]
        )

    def _example(self, target: EncodedUtterance, row: int) -> Example:
        # fsencode: an id comes from a file name, which need not be valid Unicode.
        id_hash = int.from_bytes(hashlib.sha256(os.fsencode(target.utterance.id)).digest()[:8], "big")
        rng = make_rng(self.seed, "validation_prompt", id_hash)
        prompt = self.prompt_pool.choose(target, rng)
        return Example(target, prompt, derive_seed(self.seed, "validation_example", id_hash), place=row)


class IndicesFrom(Sampler[int]):
    """Batch indices `first, first + step, ...` below `end`: where a resumed run, or one process's share, begins."""

    def __init__(self, first: int, end: int, step: int = 1) -> None:
        self._indices = range(first, end, step)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)


def _check_index(index: int, length: int) -> None:
    if not 0 <= index < length:
        raise IndexError(f"there is no batch {index} among {length}")
