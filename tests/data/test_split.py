"""The validation split: its size, its stability, and its independence of order."""

from dataclasses import replace
from pathlib import Path

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


def of_texts(make_encoded, texts, recordings=None):
    clips = [make_encoded(f"clip{n}") for n in range(len(texts))]
    for n, text in enumerate(texts):
        utterance = replace(clips[n].utterance, text=text)
        if recordings is not None:
            utterance = replace(utterance, audio_path=Path(recordings[n]), start_sec=float(n), end_sec=n + 1.0)
        clips[n] = replace(clips[n], utterance=utterance)
    return clips


@pytest.mark.parametrize("seed", range(5))
def test_the_same_text_in_other_letters_is_never_on_both_sides(make_encoded, seed):
    texts = [f"Sentence {n // 2}{'!' if n % 2 else ''}".upper() if n % 3 else f"sentence {n // 2}" for n in range(80)]
    split = split_validation(of_texts(make_encoded, texts), 0.1, seed)
    train, validation = (
        {clip.utterance.text.lower().strip("!") for clip in part} for part in (split.train, split.validation)
    )
    assert not train & validation
    assert 8 <= len(split.validation) <= 12


@pytest.mark.parametrize("seed", range(5))
def test_segments_of_one_recording_are_never_on_both_sides(make_encoded, seed):
    recordings = [f"long{n // 5}.wav" for n in range(100)]
    clips = of_texts(make_encoded, [f"text {n}" for n in range(100)], recordings)
    split = split_validation(clips, 0.1, seed)
    train, validation = ({clip.utterance.audio_path for clip in part} for part in (split.train, split.validation))
    assert not train & validation
    assert len(split.validation) == 10


def test_a_recording_of_a_quarter_of_the_clips_may_be_set_aside_whole(make_encoded):
    clips = of_texts(make_encoded, [f"text {n}" for n in range(100)], [f"long{n // 20}.wav" for n in range(100)])
    split = split_validation(clips, 0.1, seed=0)
    assert len({clip.utterance.audio_path for clip in split.validation}) == 1
    assert len(split.validation) == 20


def test_one_long_recording_is_parted_because_nothing_else_could_be_set_aside(make_encoded):
    clips = of_texts(make_encoded, [f"text {n}" for n in range(50)], ["hour.wav"] * 50)
    assert len(split_validation(clips, 0.1, seed=0).validation) == 5


def test_one_sentence_said_by_all_is_parted_too_but_the_same_audio_never(make_encoded):
    clips = [replace(clip, key=f"key{n // 2}") for n, clip in enumerate(of_texts(make_encoded, ["hello"] * 40))]
    split = split_validation(clips, 0.25, seed=0)
    train, validation = ({clip.key for clip in part} for part in (split.train, split.validation))
    assert not train & validation
    assert len(validation) == 5


def test_a_word_said_many_times_stays_in_training_and_does_not_swell_validation(make_encoded):
    texts = [f"text {n}" for n in range(100)] + ["Yes."] * 50
    for seed in range(5):
        assert 14 <= len(split_validation(of_texts(make_encoded, texts), 0.1, seed).validation) <= 22


def test_a_split_that_comes_with_the_recordings_is_kept(make_encoded):
    clips = of_texts(make_encoded, [f"text {n}" for n in range(20)])
    given = [
        replace(clip, utterance=replace(clip.utterance, split="validation" if n in (3, 7, 8) else "train"))
        for n, clip in enumerate(clips)
    ]
    assert ids(split_validation(given, 0.5, seed=0).validation) == ["clip3", "clip7", "clip8"]
    all_of_one = [replace(clip, utterance=replace(clip.utterance, split="validation")) for clip in clips]
    assert len(split_validation(all_of_one, 0.1, seed=0).validation) == 2
