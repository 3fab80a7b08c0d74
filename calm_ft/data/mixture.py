"""Which clips are in an epoch if several weighted sources are mixed: a pure function of (seed, epoch).

The first source is the voice that is learned; an epoch contains each of its clips once. Of every other source it
contains `round(weight * clips of the first)`, taken one after the other from an endless sequence of shuffles of that
source, so that no clip is repeated before all others of its source have been used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from calm_ft.errors import UserError
from calm_ft.randomness import make_rng


class Mixture:
    """The clips of every epoch, as positions in the concatenation of the sources in the order given.

    Raises:
        UserError: a weight is not positive, or so small that a source gives no clip to an epoch.
    """

    def __init__(self, num_clips: Sequence[int], weights: Sequence[float], seed: int) -> None:
        """num_clips and weights have one entry for each source; weights are relative to the first one."""
        self.num_clips = list(num_clips)
        self.seed = seed
        self.quotas = [round(self.num_clips[0] * weight / weights[0]) for weight in weights]
        for place, (weight, quota) in enumerate(zip(weights, self.quotas, strict=True)):
            if not weight > 0 or quota < 1:
                raise UserError(
                    f"The weight {weight:g} of data source {place} gives it no clip beside {self.num_clips[0]} of the "
                    "voice that is tuned: raise it, or leave the source out."
                )

    @property
    def is_same_every_epoch(self) -> bool:
        """Whether every epoch contains the same clips."""
        return len(self.num_clips) == 1

    def clips(self, epoch: int) -> Tensor:
        """Positions `[sum of quotas]` of an epoch's clips, source by source."""
        starts = [sum(self.num_clips[:place]) for place in range(len(self.num_clips))]
        chosen = [torch.arange(self.num_clips[0])]
        for place in range(1, len(self.num_clips)):
            chosen.append(starts[place] + self._turns(place, epoch * self.quotas[place], self.quotas[place]))
        return torch.cat(chosen)

    def _turns(self, place: int, first: int, count: int) -> Tensor:
        """Entries first .. first + count of a source's endless sequence of shuffles."""
        size = self.num_clips[place]
        rounds = range(first // size, (first + count - 1) // size + 1)
        shuffles = [torch.randperm(size, generator=make_rng(self.seed, "replay", place, each)) for each in rounds]
        offset = first - rounds.start * size
        return torch.cat(shuffles)[offset : offset + count]
