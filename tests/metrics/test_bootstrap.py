"""Bootstrap intervals against closed forms, by coverage, and at the edges."""

import numpy as np
import pytest
import scipy.stats

from calm_ft.metrics.bootstrap import (
    Interval,
    SpreadOverSeeds,
    bootstrap_interval,
    is_better,
    mean_interval,
    paired_interval,
    seed_spread,
)


def test_on_normal_data_the_interval_is_nearly_students() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 200)
    low, high = bootstrap_interval(values)
    t_low, t_high = scipy.stats.t.interval(0.95, 199, values.mean(), scipy.stats.sem(values))
    assert low == pytest.approx(t_low, abs=0.03)
    assert high == pytest.approx(t_high, abs=0.03)


@pytest.mark.parametrize("skewed", [False, True])
def test_about_95_of_100_intervals_hold_the_true_mean(skewed: bool) -> None:
    rng = np.random.default_rng(2)
    draw = (lambda: rng.exponential(1.0, 30)) if skewed else (lambda: rng.normal(1.0, 1.0, 30))
    held = [low <= 1.0 <= high for low, high in (bootstrap_interval(draw()) for _ in range(300))]
    assert 0.89 <= np.mean(held) <= 0.99


def test_of_one_sentence_there_is_a_mean_and_no_interval() -> None:
    assert mean_interval({}) == Interval(None, None, None, 0)
    assert mean_interval({(0, 0): 2.0}) == Interval(2.0, None, None, 1)
    assert mean_interval({(0, 0): 2.0, (0, 1): 4.0}) == Interval(3.0, None, None, 1)


def test_equal_values_are_their_own_interval() -> None:
    interval = mean_interval({(index, 0): 0.25 for index in range(5)})
    assert interval == Interval(0.25, 0.25, 0.25, 5)


def test_repeats_of_a_sentence_add_no_certainty() -> None:
    values = np.random.default_rng(3).normal(size=10)
    once = mean_interval({(index, 0): value for index, value in enumerate(values)})
    thrice = mean_interval({(index, seed): value for index, value in enumerate(values) for seed in range(3)})
    assert thrice.n == once.n == 10
    assert thrice.low == pytest.approx(once.low)


def test_pairing_removes_what_sentences_have_in_common() -> None:
    rng = np.random.default_rng(4)
    base = {(index, 0): value for index, value in enumerate(rng.normal(5, 3, 30))}
    better = {key: value - 0.5 + rng.normal(0, 0.1) for key, value in base.items()}
    difference = paired_interval(better, base)
    assert difference.mean == pytest.approx(-0.5, abs=0.06)
    assert is_better(difference, "lower") is True
    assert is_better(difference, "higher") is False
    assert is_better(difference, "none") is None
    apart = mean_interval(base)
    assert difference.high - difference.low < 0.1 * (apart.high - apart.low)  # type: ignore[operator]


def test_only_pairs_count() -> None:
    assert paired_interval({(0, 0): 1.0, (1, 0): 1.0}, {(1, 0): 0.0, (2, 0): 0.0}).n == 1


def test_no_difference_is_no_improvement_and_five_pairs_are_no_verdict() -> None:
    noise = np.random.default_rng(5).normal(size=40)
    base = {(index, 0): 0.0 for index in range(40)}
    same = {(index, 0): value for index, value in enumerate(noise - noise.mean())}
    assert is_better(paired_interval(same, base), "lower") is False
    assert is_better(paired_interval(same, base), "higher") is False
    agreed = {(index, 0): -1.0 - 0.01 * index for index in range(6)}
    five = dict(list(agreed.items())[:5])
    assert is_better(paired_interval(agreed, base), "lower") is True
    assert is_better(paired_interval(five, base), "lower") is None


def test_identical_systems_are_seldom_called_better() -> None:
    rng = np.random.default_rng(6)
    verdicts = []
    for _ in range(300):
        base = {(index, 0): value for index, value in enumerate(rng.normal(size=20))}
        verdicts.append(is_better(paired_interval({key: rng.normal() for key in base}, base), "lower"))
    assert verdicts.count(True) < 0.06 * len(verdicts)


def test_the_spread_over_seeds_is_that_of_their_means_and_of_one_seed_there_is_none() -> None:
    values = {(0, 0): 1.0, (1, 0): 3.0, (0, 1): 2.0, (1, 1): 4.0, (0, 2): 6.0, (1, 2): 2.0}
    assert seed_spread(values) == SpreadOverSeeds(std=1.0, low=2.0, high=4.0, num_seeds=3)
    assert seed_spread({(0, 0): 1.0, (1, 0): 3.0}) is None
    assert seed_spread({}) is None


def test_a_sentence_that_one_seed_lacks_does_not_look_like_a_spread() -> None:
    hard, easy = 9.0, 1.0
    values = {(0, 0): hard, (1, 0): easy, (1, 1): easy}  # the hard sentence was silent under the second seed
    assert seed_spread(values) == SpreadOverSeeds(std=0.0, low=easy, high=easy, num_seeds=2)
    assert seed_spread({(0, 0): hard, (1, 1): easy}) is None


def test_the_spread_over_seeds_finds_the_true_one() -> None:
    rng, sd = np.random.default_rng(7), 0.5
    moves = rng.normal(0, sd, 400)  # each seed moves all sentences together
    values = {(index, seed): index + move for seed, move in enumerate(moves) for index in range(3)}
    spread = seed_spread(values)
    assert spread is not None
    assert spread.std == pytest.approx(sd, rel=0.1)
