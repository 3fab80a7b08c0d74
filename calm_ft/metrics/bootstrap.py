"""Means with bootstrap confidence intervals over sentences, and paired differences.

Several seeds of one sentence are no independent samples of a system, so values are averaged for each sentence first and
sentences are resampled. The interval is the bias-corrected and accelerated one (BCa; Efron, "Better bootstrap
confidence intervals", 1987), by scipy, with a fixed seed: the same values give the same interval. Of one sentence
there is none. With few sentences bootstrap intervals are too short, which is why `better` asks for at least six pairs:
with fewer, even pairs that all agree are no rarer than chance allows (two-sided sign test: 2 * (1/2)^6 = .03, but
2 * (1/2)^5 = .06).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from calm_ft.metrics.base import Direction

CONFIDENCE = 0.95
NUM_RESAMPLES = 4999
MIN_PAIRS_FOR_A_VERDICT = 6
_SEED = 0

Values = Mapping[tuple[int, int], float]
"""(sentence index, seed) -> value."""


@dataclass(frozen=True)
class Interval:
    """A mean over `n` sentences with its confidence interval; None where there are too few for it."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Values) -> Interval:
    """The mean over sentences of each sentence's mean, with its interval."""
    sentences: dict[int, list[float]] = {}
    for (index, _), value in values.items():
        sentences.setdefault(index, []).append(value)
    means = np.array([np.mean(each) for each in sentences.values()])
    if not means.size:
        return Interval(None, None, None, 0)
    low, high = bootstrap_interval(means) if means.size > 1 else (None, None)
    return Interval(float(means.mean()), low, high, int(means.size))


@dataclass(frozen=True)
class SpreadOverSeeds:
    """How much a system's mean over sentences moves with the noise: over `num_seeds` means of one seed each."""

    std: float
    low: float
    high: float
    num_seeds: int


def seed_spread(values: Values) -> SpreadOverSeeds | None:
    """Standard deviation (over n - 1) and range of the seeds' means; None with fewer than two seeds.

    Only sentences that have a value under every seed count, so that no mean is over other sentences than another.
    """
    seeds = sorted({seed for _, seed in values})
    complete = [index for index in {index for index, _ in values} if all((index, seed) in values for seed in seeds)]
    if len(seeds) < 2 or not complete:
        return None
    means = np.array([np.mean([values[index, seed] for index in complete]) for seed in seeds])
    return SpreadOverSeeds(float(means.std(ddof=1)), float(means.min()), float(means.max()), len(seeds))


def paired_interval(values: Values, base: Values) -> Interval:
    """The mean of `values - base` over what both have."""
    return mean_interval({key: value - base[key] for key, value in values.items() if key in base})


def is_better(difference: Interval, direction: Direction) -> bool | None:
    """Whether a paired difference is an improvement beyond chance; None where that cannot be said."""
    if direction == "none" or difference.low is None or difference.high is None:
        return None
    if difference.n < MIN_PAIRS_FOR_A_VERDICT:
        return None
    return difference.high < 0 if direction == "lower" else difference.low > 0


def bootstrap_interval(values: np.ndarray | Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of at least two values [N]; equal values give that value twice."""
    array = np.asarray(values, dtype=np.float64)
    if np.ptp(array) <= 1e-12 * np.abs(array).max(initial=0.0):
        return float(array[0]), float(array[0])
    for method in ("BCa", "percentile"):  # BCa has no value where all resampled means lie on one side
        result = scipy.stats.bootstrap(
            (array,),
            np.mean,
            confidence_level=CONFIDENCE,
            n_resamples=NUM_RESAMPLES,
            method=method,
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
        if np.isfinite([result.low, result.high]).all():
            break
    return float(result.low), float(result.high)
