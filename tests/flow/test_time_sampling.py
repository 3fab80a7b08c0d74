"""Laws of times against their known statistics."""

import math

import torch

from calm_ft.flow.time_sampling import LogitNormalTimes, UniformTimes, sorted_pairs
from calm_ft.randomness import make_rng

NUM_ROWS = 100_000


def test_logit_normal_times_have_normal_logits() -> None:
    times = LogitNormalTimes(mean=0.4, std=1.0).sample(NUM_ROWS, make_rng(0, "times"))
    assert times.shape == (NUM_ROWS, 1)
    assert times.dtype == torch.float32
    logits = torch.logit(times.double())
    standard_error = 1 / math.sqrt(NUM_ROWS)
    assert abs(logits.mean() - 0.4) < 4 * standard_error
    assert abs(logits.std() - 1.0) < 4 * standard_error
    median = torch.sigmoid(torch.tensor(0.4))
    assert abs((times < median).double().mean() - 0.5) < 4 * 0.5 * standard_error


def test_uniform_times_fill_the_interval_evenly() -> None:
    times = UniformTimes().sample(NUM_ROWS, make_rng(0, "times"))
    counts = torch.histc(times, bins=10, min=0, max=1)
    assert (abs(counts - NUM_ROWS / 10) < 5 * math.sqrt(NUM_ROWS * 0.09)).all()


def test_sorted_pairs_are_the_minimum_and_maximum_of_two_independent_draws() -> None:
    s, t = sorted_pairs(UniformTimes(), NUM_ROWS, make_rng(0, "times"))
    assert s.shape == t.shape == (NUM_ROWS, 1)
    assert (s <= t).all()
    # Order statistics of two uniform draws: means 1/3 and 2/3, covariance 1/36.
    assert abs(s.mean() - 1 / 3) < 0.004
    assert abs(t.mean() - 2 / 3) < 0.004
    assert abs(torch.cov(torch.cat([s, t], dim=1).T)[0, 1] - 1 / 36) < 0.001


def test_times_follow_from_the_generator_alone() -> None:
    sampler = LogitNormalTimes()
    first, again = (sampler.sample(8, make_rng(3, "times")) for _ in range(2))
    other = sampler.sample(8, make_rng(4, "times"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
