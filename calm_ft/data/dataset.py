"""Datasets of whole batches, map-style over the batch *index*, so that a run can start at any step.

Convention: an item is a batch, made by a `collate` function from a list of `Example`s. Its clips, prompts and seeds
depend on (seed, index, row) only, and not on the number of workers, the rank or a resumption.
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

    `seed` is for random choices in the collation, such as where the prompt is cut. `place` is the row's index in the
    whole batch, of which one process may hold only a share.
    """

    target: EncodedUtterance
    prompt: EncodedUtterance | None
    seed: int
    place: int = 0


@dataclass(frozen=True)
class Share:
    """The part of every batch that one process works on: the rank-th of num_ranks."""

    rank: int = 0
    num_ranks: int = 1


class TrainingBatches(Dataset[BatchT]):
    """The first `num_batches` batches of an endless plan, with prompts drawn anew for each batch.

    A process gets the rows of its share; together, the processes get each row of a batch exactly once.

    num_draws: each clip has so many examples (a prompt, and a seed by which it is cut), of which each row takes one, so
    that what frozen layers make of them can be kept; None draws an example for every row.
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
        num_draws: int | None = None,
        finish: Callable[[BatchT, int], BatchT] | None = None,
    ) -> None:
        self.encoded = encoded
        self.prompt_pool = prompt_pool
        self.plan = plan
        self.collate = collate
        self.num_batches = num_batches
        self.seed = seed
        self.share = share or Share()
        self.num_draws = num_draws
        self.finish = finish

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> BatchT:
        """The index-th batch; raises IndexError outside `[0, num_batches)`."""
        _check_index(index, len(self))
        batch = self.collate(self.rows(index))
        return batch if self.finish is None else self.finish(batch, index)

    def rows(self, index: int) -> list[Example]:
        """The rows of this process's share of the index-th batch, the longest first."""
        rows = list(enumerate(self.plan.batch(index)))[self.share.rank :: self.share.num_ranks]
        return [self._example(self.encoded[place], index, row) for row, place in rows]

    def _example(self, target: EncodedUtterance, index: int, row: int) -> Example:
        rng = make_rng(self.seed, "prompt", index, row)
        if self.num_draws is not None:
            draw = int(torch.randint(self.num_draws, (), generator=rng))
            rng = make_rng(self.seed, "prompt_draw", _number_of(target), draw)
        return self._drawn(target, rng, row)

    def examples(self) -> Iterator[Example]:
        """All that a row can be where the draws are limited, at place 0."""
        for target in self.encoded:
            for draw in range(self.num_draws or 0):
                yield self._drawn(target, make_rng(self.seed, "prompt_draw", _number_of(target), draw), 0)

    def _drawn(self, target: EncodedUtterance, rng: torch.Generator, row: int) -> Example:
        seed = int(torch.randint(2**62, (), generator=rng))
        return Example(target, self.prompt_pool.choose(target, rng), seed, place=row)


class ValidationBatches(Dataset[BatchT]):
    """Every validation clip once, in the order of the plan's first epoch.

    A clip's prompt and seed depend on its id only, so they are the same at every validation and for every batch size.
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

    def examples(self) -> Iterator[Example]:
        """All rows, at place 0."""
        return (self._example(target, 0) for target in self.encoded)

    def _example(self, target: EncodedUtterance, row: int) -> Example:
        id_hash = _number_of(target)
        rng = make_rng(self.seed, "validation_prompt", id_hash)
        prompt = self.prompt_pool.choose(target, rng)
        return Example(target, prompt, derive_seed(self.seed, "validation_example", id_hash), place=row)


def _number_of(target: EncodedUtterance) -> int:
    """A number by which a clip draws: a hash of its id."""
    # fsencode: an id comes from a file name, which need not be valid Unicode.
    return int.from_bytes(hashlib.sha256(os.fsencode(target.utterance.id)).digest()[:8], "big")


class IndicesFrom(Sampler[int]):
    """Batch indices `first, first + step, ...` below `end`, for a resumed run or one process's share."""

    def __init__(self, first: int, end: int, step: int = 1) -> None:
        self._indices = range(first, end, step)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)


def _check_index(index: int, length: int) -> None:
    if not 0 <= index < length:
        raise IndexError(f"there is no batch {index} among {length}")
