"""The choice of the validation clips, by a hash of each clip, so that a growing data set keeps its validation clips.

The clips with the smallest hashes of (seed, id) are taken. A new clip can add or replace one validation clip; in a
shuffled list it would change all of them. The same audio under several names stays together, for a clip that is trained
on judges nothing.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of the clips, each in the order of the input."""

    train: list[EncodedUtterance]
    validation: list[EncodedUtterance]


def split_validation(encoded: Sequence[EncodedUtterance], fraction: float, seed: int) -> Split:
    """Sets aside `max(1, round(fraction * n))` clips of the n different ones, but never all of them.

    Raises:
        UserError: there are fewer than two different clips, or the fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise UserError(f"The validation fraction is {fraction}; it must be at least 0 and less than 1.")
    hashes: dict[str, bytes] = {}
    for clip in encoded:
        own = _hash(seed, clip.utterance.id)
        hashes[clip.key] = min(own, hashes.get(clip.key, own))
    if len(hashes) < 2:
        raise UserError(
            f"Usable clips: {len(hashes)}; training needs at least two different ones, one of them for validation."
        )
    num_validation = min(max(1, round(fraction * len(hashes))), len(hashes) - 1)
    chosen = set(sorted(hashes, key=lambda key: hashes[key])[:num_validation])
    return Split(
        train=[clip for clip in encoded if clip.key not in chosen],
        validation=[clip for clip in encoded if clip.key in chosen],
    )


def _hash(seed: int, id: str) -> bytes:
    # fsencode keeps the hash of ids as they have always been, also of those that are not valid Unicode.
    return hashlib.sha256(b"%d:%s" % (seed, os.fsencode(id))).digest()
