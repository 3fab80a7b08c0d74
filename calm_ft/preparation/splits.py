"""Which clips train, which choose the checkpoint (validation) and which judge the result (held out).

Clips that belong together stay together: the same sound, the same text, and one minute of one long recording. What
makes texts the same, how clips are joined and how they are ranked is one rule with training's (data/split.py), so a
set that grows keeps its splits, but for the clips that come in at the margin. Clips of one word, or of which a warning
says that they may be wrong, are trained on and never judge.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from calm_ft.data.split import plain_text, split_hash, tied_groups
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

    Training's choice (`split_validation`) has another aim: it must set something aside of any set, and parts what
    belongs together where nothing else is left. Here nothing is parted (where a whole set belongs together, all of it
    trains), doubtful clips do not judge, and two parts are taken from one ranking.

    Args:
        alike: groups of ids with the same sound.
        not_judging: ids that must not be in validation or held out; their groups train.
    """
    groups = _groups(clips, alike)
    judging = [group for group in groups if not any(clip.id in not_judging for clip in group)]
    ranked = sorted(judging, key=lambda group: min(split_hash(seed, clip.id) for clip in group))
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
    ties: dict[str, list[Hashable]] = {
        clip.id: [("text", plain_text(clip.text)), ("minute", _minute(clip))] for clip in clips
    }
    for number, ids in enumerate(alike):
        for id in by_id.keys() & ids:
            ties[id].append(("sound", number))
    return [[by_id[id] for id in group] for group in tied_groups(ties)]


def _minute(clip: PreparedClip) -> tuple[str, int]:
    return clip.source, int(clip.source_start_sec // BLOCK_SEC)
