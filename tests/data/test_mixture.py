"""Several sources in one epoch: the voice whole, the others by weight, each clip in its turn."""

from collections import Counter

import pytest

from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.mixture import Mixture
from calm_ft.errors import UserError


def test_an_epoch_holds_the_voice_once_and_of_the_others_what_their_weights_say():
    mixture = Mixture([20, 8, 100], [1.0, 0.5, 2.0], seed=0)
    for epoch in range(5):
        clips = mixture.clips(epoch).tolist()
        assert sorted(clips)[:20] == list(range(20))
        assert [sum(first <= clip < end for clip in clips) for first, end in ((0, 20), (20, 28), (28, 128))] == [
            20,
            10,
            40,
        ]


def test_a_source_repeats_no_clip_before_all_of_its_clips_came():
    mixture = Mixture([6, 7], [1.0, 1.0], seed=1)
    replayed = [clip for epoch in range(14) for clip in mixture.clips(epoch).tolist() if clip >= 6]
    for turn in range(len(replayed) // 7):
        assert sorted(replayed[7 * turn : 7 * turn + 7]) == list(range(6, 13))


def test_epochs_and_seeds_replay_different_clips():
    first, second = (Mixture([10, 100], [1, 1], seed=0).clips(epoch).tolist() for epoch in (0, 1))
    assert set(first[10:]).isdisjoint(second[10:])
    assert Mixture([10, 100], [1, 1], seed=1).clips(0).tolist() != first


def test_a_mixed_plan_gives_every_clip_of_every_epoch_once_and_any_batch_from_its_index():
    lengths = [10 + clip % 37 for clip in range(60)]
    mixture = Mixture([25, 35], [1.0, 0.7], seed=2)
    plan = BatchPlan(lengths, 300, 8, 2, mixture)
    batches = [plan.batch(index) for index in range(60)]
    num_epochs = plan.epoch_of(59)
    assert num_epochs > 5
    for epoch in range(num_epochs):
        got = Counter(clip for index, batch in enumerate(batches) if plan.epoch_of(index) == epoch for clip in batch)
        assert got == Counter(mixture.clips(epoch).tolist())
    assert all(len(batch) <= 8 for batch in batches)
    assert BatchPlan(lengths, 300, 8, 2, Mixture([25, 35], [1.0, 0.7], seed=2)).batch(41) == batches[41]


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_no_batch_is_smaller_than_the_number_of_processes(num_ranks):
    for num_clips in range(num_ranks, 40):
        lengths = [400 if clip == 0 else 10 + clip for clip in range(num_clips)]
        plan = BatchPlan(lengths, 100 * num_ranks, 4 * num_ranks, 0, min_rows=num_ranks)
        batches = [plan.batch(index) for index in range(plan.num_batches_first_epoch)]
        assert sorted(clip for batch in batches for clip in batch) == list(range(num_clips))
        assert min(map(len, batches)) >= num_ranks


def test_fewer_clips_than_processes_are_refused():
    with pytest.raises(UserError, match="cannot be shared by 3 processes"):
        BatchPlan([10, 10], 100, 4, 0, min_rows=3)


@pytest.mark.parametrize("weight", [0.0, -1.0, 0.001])
def test_a_weight_that_gives_no_clip_is_refused(weight):
    with pytest.raises(UserError, match="gives it no clip"):
        Mixture([20, 20], [1.0, weight], seed=0)
