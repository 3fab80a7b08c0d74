"""Encodes every recording once; a later run reads the features from the cache and neither decodes nor encodes.

Convention: a clip is identified by the bytes of its audio file and by its segment, so that it may be moved, renamed or
given another text. The cache's fingerprint covers the encoder and the preparation of the audio. Clips over the
duration limit are excluded and never cropped, because then the text would not match the audio.
"""

import functools
import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from calm_ft.data.audio import AUDIO_PREPARATION_VERSION, Clip, known_duration_sec, load_clip, recorded_duration_sec
from calm_ft.data.feature_cache import CacheEntry, FeatureCache, Features
from calm_ft.data.utterance import Exclusion, UnusableClip, Utterance, commonest_reason
from calm_ft.errors import UserError
from calm_ft.progress import progress as with_progress

# A longer file may be within the limit once its silence is cut. Beyond this much more it is not decoded to find out.
UNDECODED_OVER_LIMIT_SEC = 30.0

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Encoder(Protocol):
    """The frozen, cacheable part of a model."""

    sample_rate_hz: int
    frame_rate_hz: float

    def feature_fingerprint(self) -> str:
        """A hash that changes with every weight and setting on which the features depend."""

    def encode(self, clips: list[Clip]) -> list[Features]:
        """The features of each clip, without padding. May be called in several threads at once."""

    def num_frames(self, features: Features) -> int:
        """The clip's length in frames, by which clips are batched."""

    def exclusion_reason(self, num_frames: int) -> str | None:
        """Why a clip of this length cannot train; None where it can."""


@dataclass(frozen=True)
class EncodedUtterance:
    """One utterance whose features are in the cache."""

    utterance: Utterance
    num_frames: int
    duration_sec: float
    key: str
    cache: FeatureCache = field(repr=False, compare=False)

    def features(self) -> Features:
        """Reads the features from the cache at each call."""
        return self.cache.read(self.key)


@dataclass(frozen=True)
class EncodedRecordings:
    """The usable clips in the order given, the excluded ones, and how many had to be encoded."""

    encoded: list[EncodedUtterance]
    exclusions: list[Exclusion]
    num_from_cache: int
    num_encoded: int


def encode_recordings(
    utterances: Sequence[Utterance],
    encoder: Encoder,
    cache_dir: Path,
    tail_sec: float,
    max_duration_sec: float,
    shard_size: int = 64,
    progress: bool = True,
) -> EncodedRecordings:
    """Encodes the clips that are not in the cache yet.

    Args:
        tail_sec: length of the silence after the speech.
        max_duration_sec: longer clips are excluded.
        shard_size: clips in one file of the cache; what has been encoded is kept if the encoding is interrupted.
        progress: whether to show the progress on stderr.

    Raises:
        UserError: no clip is left, `tail_sec` is negative, `max_duration_sec` is not positive, or the cache cannot be
            written.
    """
    if not tail_sec >= 0 or not max_duration_sec > 0:
        raise UserError(
            f"A tail of {tail_sec} s with clips of at most {max_duration_sec} s keeps no clip; "
            "the tail must be at least 0 and the limit more than 0."
        )
    cache = FeatureCache(cache_dir, _fingerprint(encoder, tail_sec))
    faults: dict[str, str] = {}
    keys = _clip_keys(utterances, faults, progress)
    missing = {key: utt for utt in utterances if (key := keys.get(utt.id)) is not None and key not in cache}
    encoding = _Encoding(encoder, cache, tail_sec, max_duration_sec, shard_size)
    faults_by_key = encoding.run(missing, progress)

    encoded: list[EncodedUtterance] = []
    for utterance in utterances:
        key = keys.get(utterance.id)
        if key is None:
            continue
        if key in faults_by_key:
            faults[utterance.id] = faults_by_key[key]
        elif (clip := cache.info(key)).duration_sec > max_duration_sec:
            faults[utterance.id] = _too_long(clip.duration_sec, max_duration_sec)
        elif (reason := encoder.exclusion_reason(clip.num_frames)) is not None:
            faults[utterance.id] = reason
        else:
            encoded.append(EncodedUtterance(utterance, clip.num_frames, clip.duration_sec, key, cache))
    exclusions = [
        Exclusion(str(u.audio_path), faults[u.id], known_duration_sec(u)) for u in utterances if u.id in faults
    ]
    if not encoded:
        raise UserError(_nothing_left(exclusions))
    num_encoded = len({clip.key for clip in encoded} & missing.keys())
    return EncodedRecordings(encoded, exclusions, len(encoded) - num_encoded, num_encoded)


class _Encoding:
    """One pass over the clips that the cache lacks."""

    def __init__(
        self, encoder: Encoder, cache: FeatureCache, tail_sec: float, max_duration_sec: float, shard_size: int
    ) -> None:
        self.encoder = encoder
        self.cache = cache
        self.tail_sec = tail_sec
        self.max_duration_sec = max_duration_sec
        self.shard_size = shard_size

    def run(self, missing: dict[str, Utterance], progress: bool) -> dict[str, str]:
        """Stores every usable clip; returns by clip key why the others cannot be used."""
        faults: dict[str, str] = {}
        finished: dict[str, CacheEntry] = {}
        if missing:
            self.cache.check_writable()
        # Decoded here and not in the threads: what the mp3 decoder prints is caught by moving the process's stderr.
        encoding = in_threads(self._encode, map(self._load, missing.values()))
        shown = with_progress(encoding, "encoding", len(missing), unit="clip", hidden=not progress)
        try:
            for key, entry in zip(missing, shown, strict=True):
                if isinstance(entry, UnusableClip):
                    faults[key] = str(entry)
                else:
                    finished[key] = entry
                if len(finished) >= self.shard_size:
                    self.cache.write_shard(finished)
                    finished = {}
        finally:  # also when interrupted, so that what has been encoded is not encoded again
            encoding.close()
            if finished:
                self.cache.write_shard(finished)
        return faults

    def _load(self, utterance: Utterance) -> Clip | UnusableClip:
        try:
            recorded_sec = recorded_duration_sec(utterance)
            if recorded_sec > self.max_duration_sec + UNDECODED_OVER_LIMIT_SEC:
                return UnusableClip(_too_long(recorded_sec, self.max_duration_sec))
            clip = load_clip(utterance, self.encoder.sample_rate_hz, self.tail_sec)
        except UnusableClip as fault:
            return fault
        too_long = clip.duration_sec > self.max_duration_sec
        return UnusableClip(_too_long(clip.duration_sec, self.max_duration_sec)) if too_long else clip

    def _encode(self, clip: Clip | UnusableClip) -> CacheEntry | UnusableClip:
        if isinstance(clip, UnusableClip):
            return clip
        with torch.no_grad():
            (features,) = self.encoder.encode([clip])
        if not all(bool(torch.isfinite(each).all()) for each in features.values()):
            return UnusableClip("the encoder gives values that are not finite")
        return CacheEntry(features, self.encoder.num_frames(features), clip.duration_sec)


def in_threads(function: Callable[[ItemT], ResultT], items: Iterable[ItemT]) -> Generator[ResultT, None, None]:
    """The function's results in the order of the items, as many at once as torch has threads, each with one thread.

    Clips side by side are faster than one clip on all threads, and give the bits of one thread.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        yield from map(function, items)
        return
    torch.set_num_threads(1)  # new threads begin with it
    pool = ThreadPoolExecutor(num_threads)
    try:
        waiting: deque[Future[ResultT]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num_threads)


def _fingerprint(encoder: Encoder, tail_sec: float) -> str:
    parts = [
        encoder.feature_fingerprint(),
        encoder.sample_rate_hz,
        float(tail_sec),
        AUDIO_PREPARATION_VERSION,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _clip_keys(utterances: Sequence[Utterance], faults: dict[str, str], progress: bool) -> dict[str, str]:
    """Clip keys by utterance id; files that cannot be opened are added to `faults`."""
    keys: dict[str, str] = {}
    digest = functools.cache(_file_digest)  # a long file is read once, however many segments it holds
    shown = with_progress(utterances, "looking up clips", unit="clip", hidden=not progress, delay_sec=2.0)
    for utterance in shown:
        try:
            keys[utterance.id] = _clip_key(utterance, digest(utterance.audio_path))
        except OSError:
            faults[utterance.id] = "the audio file cannot be opened"
    return keys


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _clip_key(utterance: Utterance, digest: str) -> str:
    """The file's hash, with the segment, and with that of word times: an encoder may cut at words."""
    segment = f"-{utterance.start_sec!r}-{utterance.end_sec!r}" if utterance.is_segment else ""
    if not utterance.words:
        return f"{digest}{segment}"
    times = hashlib.sha256(repr([(word.start_sec, word.end_sec) for word in utterance.words]).encode()).hexdigest()
    return f"{digest}{segment}-words-{times[:16]}"


def _too_long(duration_sec: float, max_duration_sec: float) -> str:
    return f"the clip lasts {duration_sec:.1f} s, longer than the limit of {max_duration_sec:g} s"


def _nothing_left(exclusions: Sequence[Exclusion]) -> str:
    if not exclusions:
        return "There is no clip to encode; give at least one recording with its text."
    return f"No clip can be used: {len(exclusions)} left out, most often because {commonest_reason(exclusions)}."
