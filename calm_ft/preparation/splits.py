"""Which clips train, which choose the checkpoint (validation) and which judge the result (held out).

Clips that belong together stay together: the same sound, the same text, and one minute of one long recording. A group's
place is decided by the smallest hash of (seed, id) among its clips, so a set that grows keeps its splits, but for the
clips that come in at the margin. Clips of one word, or of which a warning says that they may be wrong, are trained on
and never judge.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.cluster.hierarchy import DisjointSet

from calm_ft.preparation.clips import PreparedClip

BLOCK_SEC = 60.0
VALIDATION_SHARE, HELDOUT_SHARE = 0.1, 0.05
MIN_JUDGED, MAX_JUDGED = 20, 200
MAX_SHARE_OF_SMALL_SET = 0.15


@dataclass(frozen=True)
class Shares:
    """How many clips judge."""

    num_validation: int
    num_heldout: int


def shares_of(num_clips: int) -> Shares:
    """A tenth for validation and a twentieth held out, at least 20 each where 15 % of the clips are as many."""
    return Shares(_share(num_clips, VALIDATION_SHARE), _share(num_clips, HELDOUT_SHARE))


def assign_splits(
    clips: Sequence[PreparedClip], alike: Iterable[Sequence[str]], seed: int, not_judging: frozenset[str] = frozenset()
) -> None:
    """Sets `split` of every clip.

    Args:
        alike: groups of ids with the same sound.
        not_judging: ids that must not be in validation or held out; their groups train.
    """
    groups = _groups(clips, alike)
    judging = [group for group in groups if not any(clip.id in not_judging for clip in group)]
    ranked = sorted(judging, key=lambda group: min(_hash(seed, clip.id) for clip in group))
    shares = shares_of(len(clips))
    for clip in clips:
        clip.split = "train"
    wanted = [("heldout", shares.num_heldout), ("validation", shares.num_validation)]
    room = len(clips) - 1  # at least one clip trains
    for name, num_wanted in wanted:
        taken = 0
        for group in ranked:
            fits = taken + len(group) <= max(num_wanted, 1) * 1.2 and len(group) <= room
            if taken >= num_wanted or not fits or group[0].split != "train":
                continue
            for clip in group:
                clip.split = name
            taken += len(group)
            room -= len(group)


def _share(num_clips: int, share: float) -> int:
    if num_clips < 3:
        return 0
    wanted = min(max(round(share * num_clips), MIN_JUDGED), MAX_JUDGED)
    return max(1, min(wanted, int(MAX_SHARE_OF_SMALL_SET * num_clips)))


def _groups(clips: Sequence[PreparedClip], alike: Iterable[Sequence[str]]) -> list[list[PreparedClip]]:
    """The clips that must stay together."""
    by_id = {clip.id: clip for clip in clips}
    together = DisjointSet(by_id)
    first: dict[object, str] = {}
    for clip in clips:
        block = (clip.source, int(clip.source_start_sec // BLOCK_SEC))
        for trait in (block, " ".join(clip.text.lower().split())):
            together.merge(first.setdefault(trait, clip.id), clip.id)
    for ids in alike:
        known = [id for id in ids if id in by_id]
        for other in known[1:]:
            together.merge(known[0], other)
    return [[by_id[id] for id in group] for group in together.subsets()]


def _hash(seed: int, id: str) -> bytes:
    return hashlib.sha256(b"%d:%s" % (seed, os.fsencode(id))).digest()
