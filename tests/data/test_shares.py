"""Several processes share every batch: all of its rows once, none twice, each as it would be alone."""

import pytest

from calm_ft.data.dataset import BatchPlan, IndicesFrom, Share, TrainingBatches
from calm_ft.data.mixture import Mixture
from calm_ft.data.prompts import PromptPool


def rows(clips, share, num_ranks):
    mixture = Mixture([len(clips) - 5, 5], [1.0, 0.5], seed=3)
    plan = BatchPlan([clip.num_frames for clip in clips], 400 * num_ranks, 4 * num_ranks, 3, mixture, num_ranks)
    batches = TrainingBatches(clips, PromptPool(clips), plan, list, 20, 3, share)
    return [
        [(e.target.utterance.id, e.prompt and e.prompt.utterance.id, e.seed, e.place) for e in batches[k]]
        for k in range(20)
    ]


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_the_shares_of_a_batch_are_its_rows_and_nothing_else(make_encoded, num_ranks):
    clips = [make_encoded(f"clip{n}", num_frames=10 + 3 * n) for n in range(17)]
    whole = rows(clips, Share(0, 1), num_ranks)
    one = rows(clips, None, num_ranks)
    shares = [rows(clips, Share(rank, num_ranks), num_ranks) for rank in range(num_ranks)]
    for index, batch in enumerate(whole):
        joined = [row for share in shares for row in share[index]]
        assert len(set(joined)) == len(joined)
        assert sorted(joined, key=lambda row: row[3]) == batch == one[index]
        assert all(share[index] for share in shares)


def test_a_loader_begins_where_it_is_told_and_takes_every_so_many():
    assert list(IndicesFrom(3, 7)) == [3, 4, 5, 6]
    assert list(IndicesFrom(1, 8, 3)) == [1, 4, 7]
    assert len(IndicesFrom(7, 7)) == 0
