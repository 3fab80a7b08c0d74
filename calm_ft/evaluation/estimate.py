"""A mean with its standard error, when some clips are of the same sentence.

Several seeds of one sentence are not independent samples of a system. Values are therefore averaged for each
sentence first, and the standard error is that of the mean over sentences, `std(sentence means, ddof=1) /
sqrt(num_sentences)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error; NaN where there was nothing, or too little, to compute it from."""

    mean: float
    standard_error: float


def estimate_over_sentences(sentences: Sequence[str], values: Sequence[float]) -> Estimate:
    """The mean over sentences of one value a clip; `sentences` says which clips belong together, [N] each."""
    groups: dict[str, list[float]] = {}
    for sentence, value in zip(sentences, values, strict=True):
        groups.setdefault(sentence, []).append(value)
    means = np.array([np.mean(group) for group in groups.values()])
    if not means.size:
        return Estimate(math.nan, math.nan)
    error = float(means.std(ddof=1)) / math.sqrt(means.size) if means.size > 1 else math.nan
    return Estimate(float(means.mean()), error)
