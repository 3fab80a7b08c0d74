"""Which clips train and which judge, by a hash of each clip, so that a growing data set keeps its choice.

Clips that belong together stay together, for a clip that is trained on judges nothing: the same audio, the same text,
and segments of one recording. A group's hash is the smallest one of (seed, id) among its clips, and the groups with the
smallest hashes are set aside. A new clip can add or replace one of them; in a shuffled list it would change all.

Where that would leave nothing to choose from (one long recording, one sentence said by many), segments of a recording
may part, then texts; the same audio never does.
"""

import hashlib
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError

TRAIN, VALIDATION, HELDOUT = "train", "validation", "heldout"
# A group that would make a part larger than this many times what was asked for is passed over.
MAX_OVERSHOOT = 1.5
# A whole recording may be set aside where it is no more than this share of all clips.
MAX_SHARE_OF_A_GROUP = 0.25
# Below this many held-out clips the interval of a mean is too wide to judge most changes by.
MIN_HELDOUT = 16
MAX_SHARE_OF_A_SMALL_SET = 0.2

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


@dataclass(frozen=True)
class Parts:
    """The part of each clip by id (train, validation or heldout), and what must be said about the choice."""

    of: dict[str, str]
    remarks: tuple[str, ...] = ()


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


def split_heldout(
    clips: Mapping[str, Traits],
    seed: int,
    validation_fraction: float = 0.1,
    heldout_fraction: float = 0.05,
    min_heldout: int = MIN_HELDOUT,
) -> Parts:
    """Marks each clip for training, validation or the final judgement.

    Held-out clips are chosen first, at least `min_heldout` where these are no more than a fifth of the clips, and by
    hashes of their own, so that another fraction for validation leaves them as they are.

    Raises:
        UserError: there are fewer than three different clips, or the fractions are negative or leave none to train.
    """
    if min(validation_fraction, heldout_fraction) < 0 or not validation_fraction + heldout_fraction < 1:
        raise UserError(
            f"Fractions of {validation_fraction} for validation and {heldout_fraction} held out must be at least 0 "
            "and together less than 1."
        )
    num_different = len({each.audio for each in clips.values()})
    if num_different < 3:
        raise UserError(f"There are {num_different} different clips; three parts need at least three.")
    wanted = max(min_heldout, round(heldout_fraction * num_different)) if heldout_fraction else 0
    allowed = max(1, int(MAX_SHARE_OF_A_SMALL_SET * num_different))
    num_heldout = min(wanted, max(allowed, round(heldout_fraction * num_different)), num_different - 2)
    heldout = _choose(clips, num_heldout, seed, HELDOUT) if num_heldout else set()
    # Texts and recordings that are held out must not validate either, nor the other way round.
    rest = {id: each for id, each in clips.items() if id not in heldout}
    num_rest = len({each.audio for each in rest.values()})
    num_validation = min(max(1, round(validation_fraction * num_different)), num_rest - 1) if validation_fraction else 0
    validation = _choose(rest, num_validation, seed) if num_validation else set()
    parts = {id: HELDOUT if id in heldout else VALIDATION if id in validation else TRAIN for id in clips}
    return Parts(parts, tuple(_remarks(clips, parts, wanted, min_heldout)))


def _remarks(clips: Mapping[str, Traits], parts: Mapping[str, str], wanted: int, min_heldout: int) -> Iterable[str]:
    num_heldout = len({each.audio for id, each in clips.items() if parts[id] == HELDOUT})
    if wanted and num_heldout < min(wanted, min_heldout):
        yield (
            f"{num_heldout} clips are held out where {min(wanted, min_heldout)} would give intervals that tell changes "
            f"apart; that takes about {round(min_heldout / MAX_SHARE_OF_A_SMALL_SET)} clips"
        )
    for trait, name in (("recording", "recordings"), ("text", "texts")):
        found: dict[str, set[str]] = {}
        for id, each in clips.items():
            if (value := getattr(each, trait)) is not None:
                found.setdefault(_plain(value) if trait == "text" else value, set()).add(parts[id])
        shared = sum(len(of) > 1 for of in found.values())
        if shared:
            yield f"{shared} {name} are in more than one part, for there are too few to keep them apart"


def _given(encoded: Sequence[EncodedUtterance]) -> set[str]:
    """The clips that their list gives to validation; none if it gives them all, or none."""
    given = {clip.utterance.id for clip in encoded if clip.utterance.split == VALIDATION}
    keys = {clip.key for clip in encoded if clip.utterance.id in given}
    given = {clip.utterance.id for clip in encoded if clip.key in keys}  # never the same audio on both sides
    return given if len(given) < len(encoded) else set()


def _traits(clip: EncodedUtterance) -> Traits:
    utterance = clip.utterance
    return Traits(clip.key, utterance.text, str(utterance.audio_path) if utterance.is_segment else None)


def _choose(clips: Mapping[str, Traits], num_wanted: int, seed: int, stream: str = "") -> set[str]:
    """About `num_wanted` different clips, in whole groups; the ties are loosened until some can be chosen."""
    hashes = {id: _hash(seed, id, stream) for id in clips}
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
    """The clips that stay together (union-find with path halving)."""
    parent = {id: id for id in clips}

    def root(id: str) -> str:
        while parent[id] != id:
            parent[id] = parent[parent[id]]
            id = parent[id]
        return id

    first: dict[tuple[str, Hashable], str] = {}
    for id, each in clips.items():
        ties: list[tuple[str, Hashable]] = [("audio", each.audio)]
        if by_text:
            ties.append(("text", _plain(each.text)))
        if by_recording and each.recording is not None:
            ties.append(("recording", each.recording))
        for tie in ties:
            parent[root(id)] = root(first.setdefault(tie, id))
    groups: dict[str, list[str]] = {}
    for id in clips:
        groups.setdefault(root(id), []).append(id)
    return [*groups.values()]


def _plain(text: str) -> str:
    """The words of a text without case and punctuation."""
    letters = "".join(character if character.isalnum() else " " for character in text.casefold())
    return " ".join(letters.split())


def _hash(seed: int, id: str, stream: str = "") -> bytes:
    # fsencode keeps the hash of ids as they have always been, also of those that are not valid Unicode.
    return hashlib.sha256(b"%d:%s" % (seed, os.fsencode(f"{stream}:{id}" if stream else id))).digest()
