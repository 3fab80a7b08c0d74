"""Which clips are the same recording, and which are of another person than the clips they stand among.

A fingerprint is the course of 12 bands over the clip, on a time axis that the sound itself sets: its middle and spread
are moments of the sound above a floor, so silence before and after, another level, rate or codec hardly move it. The
distance of two fingerprints is Euclidean. Of 2,671 prompts in five voices no two that differ and last over 0.6 s came
nearer than 0.37, and nineteen of twenty re-encoded ones lie under 0.2.

Voices are compared by the cosine of Resemblyzer's embeddings (Wan et al., "Generalized End-to-End Loss for Speaker
Verification", 2018), clustered by average linkage.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.signal import stft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from calm_ft.metrics.audio_io import resampled

Samples = NDArray[np.floating[Any]]
Vector = NDArray[np.float32]

_RATE_HZ, _HOP_SEC = 8000, 0.01
_WINDOW_SAMPLES, _HOP_SAMPLES = 256, 80
_NUM_BANDS, _NUM_TIMES, _PARTS = 12, 24, 4
_BAND_EDGES_HZ = np.geomspace(250, 3300, _NUM_BANDS + 1)
_FLOOR_DB = 35.0
_WIDTH_IN_DEVIATIONS = 1.8
_DURATION_WEIGHT = 2.0
_SAME_DISTANCE, _SAME_SHORT_DISTANCE, _SHORT_SEC = 0.33, 0.12, 0.6
_TREE_DIMENSIONS = 10

_FEWEST_CLIPS, _MOST_CLUSTERED = 4, 3000
_SAME_CLUSTER = 0.77
_SURELY_SAME, _MANY_DEVIATIONS = 0.86, 3.5


def fingerprint(samples: Samples, sample_rate_hz: int) -> Vector:
    """What stays of mono sound [T] when it is encoded, resampled, made louder or surrounded by silence: [289].

    The first number is twice the logarithm of its duration in seconds, the others have length one; all are zero for
    silence.
    """
    sound = resampled(np.asarray(samples, np.float64), sample_rate_hz, _RATE_HZ)
    levels_db = _band_levels_db(sound)
    if levels_db is None:
        return np.zeros(1 + _NUM_BANDS * _NUM_TIMES, np.float32)
    floor_db = float(levels_db.max()) - _FLOOR_DB
    levels_db = np.maximum(levels_db - floor_db, 0.0)
    weights, times = levels_db.sum(axis=0), np.arange(levels_db.shape[1])
    middle = weights @ times / weights.sum()
    deviation = np.sqrt(weights @ np.square(times - middle) / weights.sum()) + 1.0
    width = _WIDTH_IN_DEVIATIONS * deviation
    grid = np.linspace(middle - width, middle + width, _NUM_TIMES * _PARTS, endpoint=False)
    course = np.array([np.interp(grid, times, band, left=0.0, right=0.0) for band in levels_db])
    course = course.reshape(_NUM_BANDS, _NUM_TIMES, _PARTS).mean(axis=2)
    course -= course.mean(axis=1, keepdims=True)
    shape = course.ravel() / max(float(np.linalg.norm(course)), 1e-9)
    return np.concatenate([[_DURATION_WEIGHT * np.log(2 * width * _HOP_SEC)], shape]).astype(np.float32)


def _band_levels_db(sound: Samples) -> NDArray[np.float64] | None:
    """Levels [12, F] of bands from 250 to 3300 Hz; None for silence and for less than a window."""
    if sound.size < 2 * _WINDOW_SAMPLES or np.abs(sound).max() < 1e-5:
        return None
    overlap = _WINDOW_SAMPLES - _HOP_SAMPLES
    centred = sound - sound.mean()
    frequencies_hz, _, spectra = stft(centred, _RATE_HZ, nperseg=_WINDOW_SAMPLES, noverlap=overlap, boundary=None)
    band_of = np.searchsorted(_BAND_EDGES_HZ, frequencies_hz, side="right") - 1
    power = np.square(np.abs(spectra))
    bands = np.array([power[band_of == band].sum(axis=0) for band in range(_NUM_BANDS)])
    return 10 * np.log10(bands + 1e-20) if bands.max() > 1e-14 else None


def duplicate_groups(fingerprints: Mapping[str, Vector]) -> list[tuple[str, ...]]:
    """The groups of clips that are one recording, each in the order of `fingerprints`.

    Candidates come from a k-d tree on the principal axes of all fingerprints. A projection never lengthens a distance,
    so no pair is lost by it, and clips that are not alike are never compared.
    """
    names = [name for name, print_ in fingerprints.items() if print_[1:].any()]
    if len(names) < 2:
        return []
    points = np.array([fingerprints[name] for name in names], np.float32)
    points -= points.mean(axis=0)
    axes = np.linalg.eigh(points.T @ points)[1][:, -_TREE_DIMENSIONS:]
    pairs = cKDTree(points @ axes).query_pairs(_SAME_DISTANCE, output_type="ndarray")
    pairs = pairs[_are_same(points, pairs, [fingerprints[name] for name in names])]
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(names), len(names)))
    groups: dict[int, list[str]] = defaultdict(list)
    for name, label in zip(names, connected_components(graph, directed=False)[1], strict=True):
        groups[int(label)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _are_same(points: Vector, pairs: NDArray[np.int_], given: list[Vector]) -> NDArray[np.bool_]:
    """Which pairs are near enough in all dimensions; short words are alike and must be nearer. In pieces of 100,000."""
    durations = np.exp([print_[0] / _DURATION_WEIGHT for print_ in given])
    same = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), 100_000):
        first, second = pairs[start : start + 100_000].T
        distances = np.linalg.norm(points[first] - points[second], axis=1)
        is_short = np.minimum(durations[first], durations[second]) < _SHORT_SEC
        same[start : start + 100_000] = distances < np.where(is_short, _SAME_SHORT_DISTANCE, _SAME_DISTANCE)
    return same


def voice_outliers(embeddings: Mapping[str, Vector], speakers: Mapping[str, str]) -> dict[str, float]:
    """The clips that are probably of another person than most clips of their speaker, with the cosine to that voice.

    A speaker's clips are clustered, and the largest cluster is the speaker: where two people said half of the clips
    each, those of the smaller half are returned. Speakers with fewer than four clips that can be judged are not.
    """
    clips_of: dict[str, list[str]] = defaultdict(list)
    for name, embedding in embeddings.items():
        if embedding.any():
            clips_of[speakers[name]].append(name)
    outliers: dict[str, float] = {}
    for names in clips_of.values():
        if len(names) >= _FEWEST_CLIPS:
            similarity, limit = _similarity_to_main_voice(np.array([embeddings[name] for name in names]))
            outliers.update(
                (name, float(value)) for name, value in zip(names, similarity, strict=True) if value < limit
            )
    return outliers


def _similarity_to_main_voice(vectors: Vector) -> tuple[Vector, float]:
    """The cosine [N] of each vector [N, 256] to the largest cluster's mean, and what one of its voice reaches.

    The limit follows the spread within the cluster (a lively speaker varies more) and never asks for over 0.86. Where N
    is large, the cluster is found in an even sample.
    """
    sample = vectors[:: -(-len(vectors) // _MOST_CLUSTERED)]
    labels = fcluster(linkage(sample, "average", metric="cosine"), 1 - _SAME_CLUSTER, criterion="distance")
    main = sample[labels == np.bincount(labels).argmax()]
    centre = main.mean(axis=0) / np.linalg.norm(main.mean(axis=0))
    within = main @ centre
    deviation = 1.4826 * float(np.median(np.abs(within - np.median(within))))
    return vectors @ centre, min(_SURELY_SAME, float(np.median(within)) - _MANY_DEVIATIONS * deviation)
