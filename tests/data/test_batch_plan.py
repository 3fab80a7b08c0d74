"""The batch plan: every clip once an epoch, within the budget, with little padding, from any index."""

import random

import pytest

from calm_ft.data.batch_plan import BatchPlan
from calm_ft.errors import UserError


def random_lengths(num_clips, seed=0, longest=250):
    draw = random.Random(seed)
    return [draw.randint(5, longest) for _ in range(num_clips)]


def epoch(plan, number):
    size = plan.num_batches_first_epoch
    return [plan.batch(index) for index in range(number * size, (number + 1) * size)]


def padded_share(lengths, batches):
    return 1 - sum(lengths) / sum(len(batch) * max(lengths[clip] for clip in batch) for batch in batches)


@pytest.mark.parametrize("trial", range(60))
def test_every_clip_comes_exactly_once_an_epoch_and_no_batch_exceeds_its_limits(trial):
    draw = random.Random(trial)
    lengths = random_lengths(draw.randint(1, 150), trial, longest=draw.choice([6, 50, 400]))
    budget, max_rows = draw.choice([1, 60, 300, 2000]), draw.randint(1, 40)
    plan = BatchPlan(lengths, budget, max_rows, seed=trial)
    for number in range(4):
        batches = epoch(plan, number)
        assert sorted(clip for batch in batches for clip in batch) == list(range(len(lengths)))
        for batch in batches:
            assert len(batch) <= max_rows
            assert len(batch) == 1 or len(batch) * max(lengths[clip] for clip in batch) <= budget


def test_an_index_asked_at_random_gives_the_batch_of_the_sequence():
    lengths = random_lengths(97)
    plan = BatchPlan(lengths, 1000, 16, seed=3)
    sequence = [plan.batch(index) for index in range(8 * plan.num_batches_first_epoch)]
    shuffled = list(range(len(sequence)))
    random.Random(0).shuffle(shuffled)
    fresh = BatchPlan(lengths, 1000, 16, seed=3)
    assert [fresh.batch(index) for index in shuffled] == [sequence[index] for index in shuffled]


def test_a_late_index_plans_one_epoch_only(monkeypatch):
    planned = []
    plan_epoch = BatchPlan._plan_epoch

    def plan_and_note(self, number):
        planned.append(number)
        return plan_epoch(self, number)

    monkeypatch.setattr(BatchPlan, "_plan_epoch", plan_and_note)
    plan = BatchPlan(random_lengths(50), 1000, 16, seed=0)
    late = 10**6 * plan.num_batches_first_epoch
    for index in range(late, late + plan.num_batches_first_epoch):
        plan.batch(index)
    assert planned == [10**6]
    assert plan.epoch_of(late) == 10**6
    assert plan.epoch_of(late - 1) == 10**6 - 1


def test_padding_is_far_smaller_than_with_random_batches():
    lengths = random_lengths(400)
    plan = BatchPlan(lengths, 10**6, 16, seed=0)
    shuffled = list(range(400))
    random.Random(0).shuffle(shuffled)
    at_random = padded_share(lengths, [shuffled[start : start + 16] for start in range(0, 400, 16)])
    assert at_random > 0.4
    assert plan.padding_share() < 0.1
    assert plan.padding_share() == pytest.approx(padded_share(lengths, epoch(plan, 0)))


def test_epochs_and_seeds_differ_in_batches_and_in_their_order():
    lengths = [100] * 64
    first, second = (epoch(BatchPlan(lengths, 1600, 16, seed=0), number) for number in range(2))
    other = epoch(BatchPlan(lengths, 1600, 16, seed=1), 0)
    assert {frozenset(batch) for batch in first}.isdisjoint({frozenset(batch) for batch in second})
    assert first != other


def test_long_batches_come_anywhere_in_an_epoch():
    plan = BatchPlan(list(range(10, 210)), 10**6, 10, seed=0)
    longest_of_each_batch = [[max(batch) for batch in epoch(plan, number)] for number in range(40)]
    assert len({longest.index(199) for longest in longest_of_each_batch}) > 10


def test_the_rows_of_an_epoch_are_spread_evenly_over_its_batches():
    plan = BatchPlan([100] * 50, 10**6, 16, seed=0)
    assert sorted(len(batch) for batch in epoch(plan, 0)) == [11, 13, 13, 13]


def test_a_clip_beyond_the_budget_is_a_batch_alone():
    plan = BatchPlan([500, 10, 11, 12], 100, 8, seed=0)
    assert [0] in epoch(plan, 0)
    assert plan.num_batches_first_epoch == 2


def test_without_a_limit_of_rows_the_frames_alone_limit_a_batch():
    lengths = [10] * 90
    assert {len(batch) for batch in epoch(BatchPlan(lengths, 300, None, seed=0), 0)} == {30}
    assert {len(batch) for batch in epoch(BatchPlan(lengths, 300, 16, seed=0), 0)} == {15}
    assert [len(batch) for batch in epoch(BatchPlan(lengths, 10_000, None, seed=0), 0)] == [90]


@pytest.mark.parametrize(("budget", "rows"), [(0, 4), (100, 0), (-5, -5)])
def test_limits_that_hold_nothing_are_refused(budget, rows):
    with pytest.raises(UserError, match="at least 1"):
        BatchPlan([10], budget, rows, seed=0)
