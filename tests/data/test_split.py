"""The validation split: its size, its stability, and its independence of order."""

from dataclasses import replace

import pytest

from calm_ft.data.split import split_validation
from calm_ft.errors import UserError


def ids(clips):
    return [clip.utterance.id for clip in clips]


@pytest.mark.parametrize(
    ("num_clips", "fraction", "expected"),
    [(2, 0.1, 1), (2, 0.9, 1), (10, 0.0, 1), (10, 0.25, 2), (40, 0.1, 4), (5, 0.99, 4)],
)
def test_the_validation_part_has_the_asked_size_but_at_least_one_and_never_all(
    make_encoded, num_clips, fraction, expected
):
    clips = [make_encoded(f"clip{n}") for n in range(num_clips)]
    split = split_validation(clips, fraction, seed=0)
    assert len(split.validation) == expected
    assert sorted(ids(split.train) + ids(split.validation)) == sorted(ids(clips))


def test_the_split_is_a_function_of_ids_and_seed_not_of_order(make_encoded):
    clips = [make_encoded(f"clip{n}") for n in range(60)]
    split = split_validation(clips, 0.1, seed=1)
    assert set(ids(split.validation)) == set(ids(split_validation(clips[::-1], 0.1, seed=1).validation))
    assert set(ids(split.validation)) != set(ids(split_validation(clips, 0.1, seed=2).validation))
    assert ids(split.train) == [id for id in ids(clips) if id in ids(split.train)]


def test_a_clip_more_moves_at_most_one_clip_out_of_validation(make_encoded):
    clips = [make_encoded(f"clip{n}") for n in range(100)]
    for num_clips in range(20, 100):
        before = set(ids(split_validation(clips[:num_clips], 0.1, seed=0).validation))
        after = set(ids(split_validation(clips[: num_clips + 1], 0.1, seed=0).validation))
        assert len(before - after) <= 1
        assert len(after - before) <= 1


def test_the_same_audio_under_two_names_stays_on_one_side(make_encoded):
    clips = [make_encoded(f"clip{n}") for n in range(40)]
    copies = [replace(make_encoded(f"copy{n}"), key=clip.key) for n, clip in enumerate(clips[::4])]
    for seed in range(5):
        split = split_validation([*clips, *copies], 0.25, seed)
        train, validation = ({clip.key for clip in part} for part in (split.train, split.validation))
        assert not train & validation
        assert len(validation) == 10
        assert len(split.train) + len(split.validation) == 50


def test_copies_of_one_clip_are_refused(make_encoded):
    clip = make_encoded("a")
    with pytest.raises(UserError, match="at least two different"):
        split_validation([clip, replace(make_encoded("b"), key=clip.key)], 0.1, seed=0)


def test_a_single_clip_is_refused(make_encoded):
    with pytest.raises(UserError, match="at least two"):
        split_validation([make_encoded("a")], 0.1, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_zero_to_one_is_refused(make_encoded, fraction):
    with pytest.raises(UserError, match="fraction"):
        split_validation([make_encoded("a"), make_encoded("b")], fraction, seed=0)


def test_an_id_that_is_not_valid_unicode_can_be_split(make_encoded):
    clips = [make_encoded("caf\udce9"), make_encoded("b"), make_encoded("c")]
    assert len(split_validation(clips, 0.3, seed=0).train) == 2
