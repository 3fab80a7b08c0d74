"""Which clips validate: decided by a hash of each, so that a set that grows keeps its validation clips.

The clips with the smallest hashes of (seed, id) are taken. A clip that is added can displace or add one, and
moves no other, unlike a shuffled list, where one new clip moves all.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of the clips, each in the order in which the clips were given."""

    train: list[EncodedUtterance]
    validation: list[EncodedUtterance]


def split_validation(encoded: Sequence[EncodedUtterance], fraction: float, seed: int) -> Split:
    """Sets aside `max(1, round(fraction * n))` clips, and never all of them.

    Raises:
        UserError: fewer than two clips, or a fraction that is not between 0 and 1.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"The validation fraction is {fraction}; it must be at least 0 and less than 1.")
    if len(encoded) < 2:
        raise UserError(f"Usable clips: {len(encoded)}; training needs at least two, one of them for validation.")
    num_validation = min(max(1, round(fraction * len(encoded))), len(encoded) - 1)
    by_hash = sorted(encoded, key=lambda clip: _hash(seed, clip.utterance.id))
    chosen = {clip.utterance.id for clip in by_hash[:num_validation]}
    return Split(
        train=[clip for clip in encoded if clip.utterance.id not in chosen],
        validation=[clip for clip in encoded if clip.utterance.id in chosen],
    )


def _hash(seed: int, id: str) -> bytes:
    # fsencode: an id comes from a file name, which need not be valid Unicode.
    return hashlib.sha256(b"%d:%s" % (seed, os.fsencode(id))).digest()
