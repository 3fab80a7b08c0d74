"""Which clips are in the index-th batch of an endless training run: a pure function of (seed, index).

Clips are sorted into length buckets 10 % wide, shuffled inside them, and cut into batches from the longest to the
shortest. The cuts depend on the buckets and not on the shuffle. So every epoch of the same clips has the same number
of batches, and any batch can be computed without planning the epochs before it.
"""

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

import torch

from calm_ft.data.mixture import Mixture
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng

BUCKET_RATIO = 1.1
# Loader workers prefetch beyond the end of an epoch; with two plans kept, none is computed again and again.
MAX_CACHED_EPOCHS = 2


class BatchPlan:
    """An endless sequence of batches with every clip exactly once in an epoch (clips of other sources as in `Mixture`).

    The cost of a batch (the length of its longest clip times its number of rows) is at most `max_frames_per_batch`; a
    clip longer than that is a batch by itself. `max_batch_size` limits the rows; None leaves them to the cost. No batch
    has fewer than `min_rows` rows, whatever its cost; this is the number of processes that share each batch.

    Raises:
        UserError: a limit is below one, or there are fewer clips than `min_rows`.
    """

    def __init__(
        self,
        num_frames: Sequence[int],
        max_frames_per_batch: int,
        max_batch_size: int | None,
        seed: int,
        mixture: Mixture | None = None,
        min_rows: int = 1,
    ) -> None:
        if max_frames_per_batch < 1 or (max_batch_size is not None and max_batch_size < 1):
            raise UserError(
                f"A batch of at most {max_frames_per_batch} frames and {max_batch_size} clips holds nothing; "
                "both limits must be at least 1."
            )
        if not num_frames:
            raise ValueError("a plan needs at least one clip")
        self.num_frames = torch.tensor(num_frames)
        self.seed = seed
        self.mixture = mixture or Mixture([len(num_frames)], [1.0], seed)
        self._limits = (max_frames_per_batch, max_batch_size or len(num_frames), min_rows)
        self._buckets = _bucket_ceilings(self.num_frames)
        self._starts = [0]  # index of the first batch of each epoch, computed as needed
        self._epochs: OrderedDict[int, list[list[int]]] = OrderedDict()
        self._first_sizes = self._sizes(self.mixture.clips(0))
        if min(self._first_sizes) < min_rows:
            raise UserError(
                f"{len(num_frames)} clips cannot be shared by {min_rows} processes: use fewer processes "
                "(trainer.devices), or more recordings."
            )

    @property
    def num_batches_first_epoch(self) -> int:
        """Number of batches in the first epoch; if there is only one source, in every epoch."""
        return len(self._first_sizes)

    def epoch_of(self, index: int) -> int:
        """The epoch of the index-th batch, counted from 0."""
        return self._find(index)[0]

    def batch(self, index: int) -> list[int]:
        """Positions of the clips in the index-th batch, the longest first."""
        epoch, place = self._find(index)
        if epoch not in self._epochs:
            self._epochs[epoch] = self._plan_epoch(epoch)
            if len(self._epochs) > MAX_CACHED_EPOCHS:
                self._epochs.popitem(last=False)
        return self._epochs[epoch][place]

    def padding_share(self) -> float:
        """Fraction of padded frames in the first epoch, with each batch padded to its longest clip."""
        lengths = [self.num_frames[batch] for batch in self._plan_epoch(0)]
        num_padded_frames = sum(len(batch) * int(batch.max()) for batch in lengths)
        return 1 - int(sum(batch.sum() for batch in lengths)) / num_padded_frames

    def _find(self, index: int) -> tuple[int, int]:
        """(epoch, place in it) of a batch; only a mixture must count the batches of earlier epochs."""
        if self.mixture.is_same_every_epoch:
            return divmod(index, len(self._first_sizes))
        while self._starts[-1] <= index:
            sizes = self._sizes(self.mixture.clips(len(self._starts) - 1))
            self._starts.append(self._starts[-1] + len(sizes))
        epoch = bisect_right(self._starts, index) - 1
        return epoch, index - self._starts[epoch]

    def _sizes(self, clips: torch.Tensor) -> list[int]:
        return _batch_sizes(self._buckets[clips], *self._limits)

    def _plan_epoch(self, epoch: int) -> list[list[int]]:
        rng = make_rng(self.seed, "batches", epoch)
        clips = self.mixture.clips(epoch)
        shuffled = clips[torch.randperm(len(clips), generator=rng)]
        order = shuffled[torch.argsort(self._buckets[shuffled], descending=True, stable=True)]
        batches = [batch.tolist() for batch in order.split(self._sizes(clips))]
        return [batches[place] for place in torch.randperm(len(batches), generator=rng).tolist()]


def _bucket_ceilings(num_frames: torch.Tensor) -> torch.Tensor:
    """For each clip the length `[N]` of the longest clip in its bucket."""
    buckets = (num_frames.clamp(min=1).double().log() / math.log(BUCKET_RATIO)).long()
    ceilings = torch.zeros(int(buckets.max()) + 1, dtype=num_frames.dtype)
    return ceilings.scatter_reduce(0, buckets, num_frames, "amax")[buckets]


def _batch_sizes(ceilings: torch.Tensor, max_frames: int, max_batch_size: int, min_rows: int) -> list[int]:
    """Number of rows of each batch, from the longest clips to the shortest, as even as possible.

    Otherwise the last batch of every epoch would hold only the one or two shortest clips, and these would weigh as
    much in training as all rows of a full batch.
    """
    longest_first = ceilings.sort(descending=True).values.tolist()

    def cut(row_limit: int) -> list[int]:
        sizes: list[int] = []
        start = 0
        while start < len(longest_first):
            rows = max(min_rows, min(row_limit, max_frames // max(1, longest_first[start])))
            sizes.append(min(rows, len(longest_first) - start))
            start += sizes[-1]
        return sizes

    fewest = len(cut(max_batch_size))
    low, high = 1, min(max_batch_size, len(longest_first))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(cut(middle)) == fewest else (middle + 1, high)
    return _filled_up(cut(low), min_rows)


def _filled_up(sizes: list[int], min_rows: int) -> list[int]:
    """The sizes with a last batch of at least `min_rows`: it takes rows from the batch before, or is joined to it."""
    if len(sizes) < 2 or sizes[-1] >= min_rows:
        return sizes
    *others, before, last = sizes
    both = before + last
    return [*others, both - min_rows, min_rows] if both >= 2 * min_rows else [*others, both]
