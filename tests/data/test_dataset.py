"""Batches for a loader: functions of seed and index, the same in any order, in any worker and in any process."""

import pytest
import torch
from torch.utils.data import DataLoader

from calm_ft.data.dataset import BatchPlan, IndicesFrom, Share, TrainingBatches, ValidationBatches
from calm_ft.data.mixture import Mixture
from calm_ft.data.prompts import PromptPool
from calm_ft.data.split import split_validation


def describe(examples):
    """A batch as plain data: target, prompt, seed of every row."""
    return [(e.target.utterance.id, e.prompt.utterance.id if e.prompt else None, e.seed) for e in examples]


def sum_of_latents(examples):
    """A batch that depends on what lies in the cache."""
    pairs = [(e.target.features()["latents"], e.prompt.features()["latents"]) for e in examples]
    return torch.stack([target.sum() - prompt.sum() for target, prompt in pairs])


def training_batches(clips, collate=describe, seed=0, num_batches=12, max_batch_size=4):
    plan = BatchPlan([clip.num_frames for clip in clips], 10**6, max_batch_size, seed)
    return TrainingBatches(clips, PromptPool(clips), plan, collate, num_batches, seed)


def validation_batches(clips, training, seed=0, max_batch_size=4):
    plan = BatchPlan([clip.num_frames for clip in clips], 10**6, max_batch_size, seed)
    return ValidationBatches(clips, PromptPool(training), plan, describe, seed)


@pytest.fixture
def clips(make_encoded):
    return [make_encoded(f"clip{n}", num_frames=10 + 3 * n) for n in range(10)]


def test_a_batch_is_the_same_whenever_it_is_asked_for(clips):
    batches = training_batches(clips)
    sequence = list(batches)
    assert len(sequence) == len(batches) == 12
    fresh = training_batches(clips)
    assert [fresh[index] for index in (11, 3, 7)] == [sequence[11], sequence[3], sequence[7]]
    assert list(training_batches(clips, seed=1)) != sequence


def test_prompts_and_seeds_are_drawn_anew_for_every_row_and_batch(clips):
    rows = [row for batch in training_batches(clips, num_batches=60) for row in batch]
    assert all(target != prompt for target, prompt, _ in rows)
    assert len({seed for *_, seed in rows}) == len(rows)
    assert len({prompt for target, prompt, _ in rows if target == "clip0"}) > 5


def test_each_epoch_trains_every_clip_once(clips):
    batches = training_batches(clips)
    per_epoch = batches.plan.num_batches_first_epoch
    for start in range(0, 12, per_epoch):
        targets = [target for index in range(start, start + per_epoch) for target, *_ in batches[index]]
        assert sorted(targets) == sorted(clip.utterance.id for clip in clips)


def test_validation_passes_once_over_its_clips_with_prompts_from_the_training_clips(clips):
    training, held_out = clips[:6], clips[6:]
    batches = validation_batches(held_out, training)
    rows = [row for batch in batches for row in batch]
    assert sorted(target for target, *_ in rows) == [clip.utterance.id for clip in held_out]
    assert {prompt for _, prompt, _ in rows} <= {clip.utterance.id for clip in training}
    assert list(validation_batches(held_out, training)) == list(batches)


def test_the_batch_size_changes_no_clips_validation_prompt(clips):
    def rows(max_batch_size):
        batches = validation_batches(clips[4:], clips[:4], max_batch_size=max_batch_size)
        return sorted(row for batch in batches for row in batch)

    assert rows(1) == rows(3) == rows(6)


def test_an_index_outside_raises_index_error(clips):
    for batches in (training_batches(clips), validation_batches(clips[5:], clips[:5])):
        for index in (-1, len(batches)):
            with pytest.raises(IndexError):
                batches[index]


@pytest.mark.parametrize(("start_method", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_worker_processes_give_the_batches_of_the_main_process(write_utterances, encode, start_method, num_workers):
    split = split_validation(encode(write_utterances(8)).encoded, 0.2, seed=0)
    batches = training_batches(split.train, sum_of_latents)
    alone = list(batches)
    loader = DataLoader(batches, batch_size=None, num_workers=num_workers, multiprocessing_context=start_method)
    for expected, batch in zip(alone, loader, strict=True):
        assert torch.equal(batch, expected)


def rows_of_share(clips, share, num_ranks):
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
    whole = rows_of_share(clips, Share(0, 1), num_ranks)
    one = rows_of_share(clips, None, num_ranks)
    shares = [rows_of_share(clips, Share(rank, num_ranks), num_ranks) for rank in range(num_ranks)]
    for index, batch in enumerate(whole):
        joined = [row for share in shares for row in share[index]]
        assert len(set(joined)) == len(joined)
        assert sorted(joined, key=lambda row: row[3]) == batch == one[index]
        assert all(share[index] for share in shares)


def test_a_loader_begins_where_it_is_told_and_takes_every_so_many():
    assert list(IndicesFrom(3, 7)) == [3, 4, 5, 6]
    assert list(IndicesFrom(1, 8, 3)) == [1, 4, 7]
    assert len(IndicesFrom(7, 7)) == 0
