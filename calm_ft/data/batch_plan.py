"""Which clips make up the index-th batch of an endless training run: a pure function of (seed, index).

Clips are sorted into length buckets 10 % wide, shuffled inside them, and cut into batches from the longest to
the shortest. Where the cuts fall depends on the buckets alone and not on the shuffle, so every epoch has the
same number of batches, and a late index is reached without planning the epochs before it.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch

from calm_ft.errors import UserError
from calm_ft.randomness import make_rng

BUCKET_RATIO = 1.1
# Loader workers run ahead over the end of an epoch; two plans spare them from making each anew.
MAX_CACHED_EPOCHS = 2


class BatchPlan:
    """An endless sequence of batches, every clip exactly once an epoch.

    A batch's cost, its longest clip times its rows, is at most `max_frames_per_batch`; a clip longer than
    that is a batch alone. Raises `UserError` for limits below one.
    """

    def __init__(self, num_frames: Sequence[int], max_frames_per_batch: int, max_batch_size: int, seed: int) -> None:
        if max_frames_per_batch < 1 or max_batch_size < 1:
            raise UserError(
                f"A batch of at most {max_frames_per_batch} frames and {max_batch_size} clips holds nothing; "
                "both limits must be at least 1."
            )
        if not num_frames:
            raise ValueError("a plan needs at least one clip")
        self.num_frames = torch.tensor(num_frames)
        self.seed = seed
        self._buckets = _bucket_ceilings(self.num_frames)
        self._sizes = _batch_sizes(self._buckets, max_frames_per_batch, max_batch_size)
        self._epochs: OrderedDict[int, list[list[int]]] = OrderedDict()

    @property
    def num_batches_first_epoch(self) -> int:
        """Batches of the first epoch, and of every other one."""
        return len(self._sizes)

    def epoch_of(self, index: int) -> int:
        """The epoch, from 0, that the index-th batch belongs to."""
        return index // len(self._sizes)

    def batch(self, index: int) -> list[int]:
        """Positions of the clips in the index-th batch."""
        epoch, place = divmod(index, len(self._sizes))
        if epoch not in self._epochs:
            self._epochs[epoch] = self._plan_epoch(epoch)
            if len(self._epochs) > MAX_CACHED_EPOCHS:
                self._epochs.popitem(last=False)
        return self._epochs[epoch][place]

    def padding_share(self) -> float:
        """Share of padding in the first epoch, each batch padded to its longest clip."""
        lengths = [self.num_frames[batch] for batch in self._plan_epoch(0)]
        num_padded_frames = sum(len(batch) * int(batch.max()) for batch in lengths)
        return 1 - int(self.num_frames.sum()) / num_padded_frames

    def _plan_epoch(self, epoch: int) -> list[list[int]]:
        rng = make_rng(self.seed, "batches", epoch)
        shuffled = torch.randperm(len(self.num_frames), generator=rng)
        order = shuffled[torch.argsort(self._buckets[shuffled], descending=True, stable=True)]
        batches = [batch.tolist() for batch in order.split(self._sizes)]
        return [batches[place] for place in torch.randperm(len(batches), generator=rng).tolist()]


def _bucket_ceilings(num_frames: torch.Tensor) -> torch.Tensor:
    """For each clip the length of the longest clip in its bucket `[N]`."""
    buckets = (num_frames.clamp(min=1).double().log() / math.log(BUCKET_RATIO)).long()
    ceilings = torch.zeros(int(buckets.max()) + 1, dtype=num_frames.dtype)
    return ceilings.scatter_reduce(0, buckets, num_frames, "amax")[buckets]


def _batch_sizes(ceilings: torch.Tensor, max_frames: int, max_batch_size: int) -> list[int]:
    """Rows of each batch from the longest clips to the shortest, as even as their number allows.

    Without the evening out, the last batch of every epoch would be the one or two shortest clips, which would
    weigh as much in training as all rows of a full batch.
    """
    longest_first = ceilings.sort(descending=True).values.tolist()

    def cut(row_limit: int) -> list[int]:
        sizes: list[int] = []
        start = 0
        while start < len(longest_first):
            rows = max(1, min(row_limit, max_frames // max(1, longest_first[start])))
            sizes.append(min(rows, len(longest_first) - start))
            start += sizes[-1]
        return sizes

    fewest = len(cut(max_batch_size))
    low, high = 1, min(max_batch_size, len(longest_first))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(cut(middle)) == fewest else (middle + 1, high)
    return cut(low)
