"""How well samples stand for the distribution that data came from: the energy score.

A residual at random times says little of what one step gives, which is what is played: most of a flow residual cannot
be reduced, and it hardly sees a one-step map that decays. The energy score is proper (Gneiting and Raftery 2007,
"Strictly Proper Scoring Rules, Prediction, and Estimation", section 4.2): its mean is least for samples of the data's
own distribution, and it punishes both a wrong place and a wrong spread.
"""

import torch
from torch import Tensor


def energy_score(samples: Tensor, observed: Tensor) -> Tensor:
    """Scores `[N]` of samples `[K, N, C]`, K >= 2, for the observed `[N, C]`; lower is better.

    mean_i |x_i - y| - 1/2 mean_{i != j} |x_i - x_j|, with |.| the Euclidean norm divided by sqrt(C). Without the pairs
    i = j its expectation does not depend on K.
    """
    return distance(samples, observed) - spread(samples) / 2


def distance(samples: Tensor, observed: Tensor) -> Tensor:
    """Mean distance `[N]` of samples `[K, N, C]` to the observed `[N, C]`, for each square root of a channel."""
    return _norm(samples - observed).mean(dim=0)


def spread(samples: Tensor) -> Tensor:
    """Mean distance `[N]` of two different ones of K >= 2 samples `[K, N, C]`."""
    num_samples = len(samples)
    assert num_samples > 1, "a spread takes two samples"
    first, second = torch.triu_indices(num_samples, num_samples, offset=1)
    return _norm(samples[first] - samples[second]).mean(dim=0)


def _norm(difference: Tensor) -> Tensor:
    return difference.norm(dim=-1) / difference.shape[-1] ** 0.5
