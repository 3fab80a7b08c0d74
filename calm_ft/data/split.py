"""Which clips train and which judge, by a hash of each clip, so that a growing data set keeps its choice.

Clips that belong together stay together, for a clip that is trained on judges nothing: the same audio, the same text,
and segments of one recording. A group's hash is the smallest one of (seed, id) among its clips, and the groups with the
smallest hashes are set aside. A new clip can add or replace one of them; in a shuffled list it would change all.

`tied_groups`, `plain_text` and `split_hash` are this rule, for training and for preparation (preparation/splits.py).

Where that would leave nothing to choose from (one long recording, one sentence said by many), segments of a recording
may part, then texts; the same audio never does.
"""

import hashlib
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy.cluster.hierarchy import DisjointSet

from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError

VALIDATION = "validation"
# A group that would make a part larger than this many times what was asked for is passed over.
MAX_OVERSHOOT = 1.5
# A whole recording may be set aside where it is no more than this share of all clips.
MAX_SHARE_OF_A_GROUP = 0.25

Groups = list[list[str]]


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of the clips, each in the order of the input."""

    train: list[EncodedUtterance]
    validation: list[EncodedUtterance]


@dataclass(frozen=True)
class Traits:
    """What a clip shares with others: `audio` (its hash), its text, and the recording that it was cut from, if any."""

    audio: Hashable
    text: str
    recording: str | None = None


def split_validation(encoded: Sequence[EncodedUtterance], fraction: float, seed: int) -> Split:
    """Sets aside about `max(1, round(fraction * n))` clips of the n different ones, but never all of them.

    Clips that share nothing give exactly that number. Where the recordings come with a split of their own (a prepared
    data set), that one is kept, whatever the fraction.

    Raises:
        UserError: there are fewer than two different clips, or the fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise UserError(f"The validation fraction is {fraction}; it must be at least 0 and less than 1.")
    traits = {clip.utterance.id: _traits(clip) for clip in encoded}
    num_different = len({each.audio for each in traits.values()})
    if num_different < 2:
        raise UserError(
            f"Usable clips: {num_different}; training needs at least two different ones, one of them for validation."
        )
    num_validation = min(max(1, round(fraction * num_different)), num_different - 1)
    chosen = _given(encoded) or _choose(traits, num_validation, seed)
    return Split(
        train=[clip for clip in encoded if clip.utterance.id not in chosen],
        validation=[clip for clip in encoded if clip.utterance.id in chosen],
    )


def _given(encoded: Sequence[EncodedUtterance]) -> set[str]:
    """The clips that their list gives to validation; none if it gives them all, or none."""
    given = {clip.utterance.id for clip in encoded if clip.utterance.split == VALIDATION}
    keys = {clip.key for clip in encoded if clip.utterance.id in given}
    given = {clip.utterance.id for clip in encoded if clip.key in keys}  # never the same audio on both sides
    return given if len(given) < len(encoded) else set()


def _traits(clip: EncodedUtterance) -> Traits:
    utterance = clip.utterance
    return Traits(clip.key, utterance.text, str(utterance.audio_path) if utterance.is_segment else None)


def _choose(clips: Mapping[str, Traits], num_wanted: int, seed: int) -> set[str]:
    """About `num_wanted` different clips, in whole groups; the ties are loosened until some can be chosen."""
    hashes = {id: split_hash(seed, id) for id in clips}
    for groups in (_groups(clips, True, True), _groups(clips, True, False), _groups(clips, False, False)):
        groups.sort(key=lambda group: min(hashes[id] for id in group))
        sizes = [len({clips[id].audio for id in group}) for group in groups]
        total = sum(sizes)
        for limit in (MAX_OVERSHOOT * num_wanted, max(MAX_SHARE_OF_A_GROUP * total, num_wanted)):
            chosen = _take(groups, sizes, num_wanted, min(limit, total - 1))
            # Half of what was asked for is better than to part what belongs together.
            if chosen and 2 * sum(sizes[index] for index in chosen) >= num_wanted:
                return {id for index in chosen for id in groups[index]}
    raise AssertionError("single clips can always be chosen")


def _take(groups: Groups, sizes: Sequence[int], num_wanted: int, limit: float) -> list[int]:
    """The first groups that fit within the limit, until there are enough clips."""
    chosen: list[int] = []
    taken = 0
    for index in range(len(groups)):
        if taken >= num_wanted:
            break
        if taken + sizes[index] <= limit:
            chosen.append(index)
            taken += sizes[index]
    return chosen


def _groups(clips: Mapping[str, Traits], by_text: bool, by_recording: bool) -> Groups:
    """The clips that stay together."""
    return tied_groups({id: _ties(each, by_text, by_recording) for id, each in clips.items()})


def _ties(clip: Traits, by_text: bool, by_recording: bool) -> Iterator[Hashable]:
    yield "audio", clip.audio
    if by_text:
        yield "text", plain_text(clip.text)
    if by_recording and clip.recording is not None:
        yield "recording", clip.recording


def tied_groups(ties: Mapping[str, Iterable[Hashable]]) -> Groups:
    """The ids in groups: two ids with an equal tie are in one, also where others lie between them."""
    together = DisjointSet(ties)
    first: dict[Hashable, str] = {}
    for id, own in ties.items():
        for tie in own:
            together.merge(first.setdefault(tie, id), id)
    return [sorted(group) for group in together.subsets()]


def plain_text(text: str) -> str:
    """The words of a text without case and punctuation."""
    letters = "".join(character if character.isalnum() else " " for character in text.casefold())
    return " ".join(letters.split())


def split_hash(seed: int, id: str) -> bytes:
    """By which clips are ranked: the same for the same seed and id, whatever the other clips are."""
    return hashlib.sha256(b"%d:%s" % (seed, os.fsencode(id))).digest()  # an id need not be valid Unicode
