"""Where prompts end, frame by frame and word by word."""

from pathlib import Path

import pytest
import torch

from calm_ft.adapters.pocket_tts.prompt_cut import (
    COLD_FRAMES,
    SEARCH_FRAMES,
    PromptLength,
    cut_at_word,
    cut_on_pause,
    trimmed,
)
from calm_ft.data.audio import load_clip
from calm_ft.data.dataset import Example
from calm_ft.data.prepare import encode_recordings
from calm_ft.data.utterance import Utterance, WordTime
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng

RATE_HZ = 12.5
LENGTH = PromptLength(1.0, 4.0)


def cuts(energy_db: torch.Tensor, length: PromptLength = LENGTH, num_draws: int = 200) -> set[int]:
    return {cut_on_pause(energy_db, length, RATE_HZ, make_rng(seed, "cut")) for seed in range(num_draws)}


def test_cuts_are_in_range_and_on_the_quietest_frame_near_them():
    energy_db = -20 + 5 * torch.randn(80, generator=make_rng(0, "energy"))
    found = cuts(energy_db)
    assert min(found) >= 12
    assert max(found) <= 50
    assert len(found) > 5
    for cut in found:
        # Within reach of some drawn length, no frame is quieter than the one that the prompt ends on.
        windows = [range(max(12, d - SEARCH_FRAMES), min(50, d + SEARCH_FRAMES) + 1) for d in range(12, 51)]
        assert any(cut == min(window, key=lambda count: energy_db[count - 1].item()) for window in windows)


def test_a_single_pause_in_reach_of_every_length_is_always_chosen():
    energy_db = torch.full((40,), -20.0)
    energy_db[15] = -60.0
    assert cuts(energy_db, PromptLength(16 / RATE_HZ, 16 / RATE_HZ)) == {16}
    assert cuts(energy_db, PromptLength(13 / RATE_HZ, 19 / RATE_HZ)) == {16}


def test_no_prompt_goes_past_one_quiet_frame_after_the_last_loud_one():
    energy_db = torch.full((60,), -80.0)
    energy_db[:20] = -20 + torch.randn(20, generator=make_rng(1, "energy"))
    found = cuts(energy_db)
    assert max(found) == 21
    assert cuts(energy_db, PromptLength(3.0, 4.0)) == {21}  # shorter than asked for rather than into the silence


def test_digital_silence_and_single_frames_have_a_cut():
    assert cuts(torch.full((1,), -120.0)) == {1}
    assert cuts(torch.zeros(1)) == {1}
    assert cuts(torch.full((30,), -120.0)) <= set(range(12, 31))
    assert cuts(torch.zeros(2), PromptLength(0.0, 0.01)) == {1}


@pytest.mark.parametrize("lengths", [(2.0, 1.0), (-1.0, 1.0), (0.0, 0.0), (1.0, float("nan"))])
def test_a_range_without_lengths_is_refused(lengths):
    with pytest.raises(UserError, match=r"adapter\.prompt"):
        PromptLength(*lengths)


def spoken(text: str, words: list[str]) -> Utterance:
    """Word k lasts from k to k + 0.6 seconds."""
    times = tuple(WordTime(word, k, k + 0.6) for k, word in enumerate(words))
    return Utterance("id", Path("id.wav"), text, words=times)


def all_word_cuts(utterance: Utterance, num_frames: int, length: PromptLength = LENGTH) -> set[tuple[int, str]]:
    found = {cut_at_word(utterance, num_frames, length, RATE_HZ, make_rng(s, "cut")) for s in range(60)}
    return {(cut.num_frames, cut.text) for cut in found if cut is not None}


def test_a_word_cut_lies_between_two_words_and_keeps_the_rest_as_written():
    utterance = spoken('Well, "stop" now; or run!', ["well", "stop", "now", "or", "run"])
    # Boundaries at 0.8, 1.8, 2.8 and 3.8 s, of which the first is shorter than a prompt may be.
    expected = {(22, "now; or run!"), (35, "or run!"), (48, "run!")}
    assert {(round(b * RATE_HZ), rest) for b, rest in [(1.8, "now; or run!"), (2.8, "or run!"), (3.8, "run!")]} == (
        expected
    )
    assert all_word_cuts(utterance, 61) == expected
    # 13 frames are the first whole second of target that is left.
    assert all_word_cuts(utterance, 60) == {(22, "now; or run!"), (35, "or run!")}
    assert all_word_cuts(utterance, 47) == {(22, "now; or run!")}


def test_where_text_and_words_differ_in_number_the_spoken_words_remain():
    utterance = spoken("It is 25 now.", ["it", "is", "twenty", "five", "now"])
    assert all_word_cuts(utterance, 60, PromptLength(2.0, 3.0)) == {(35, "five now")}


def test_the_words_that_remain_count_from_the_end_of_the_prompt():
    cut = cut_at_word(spoken("a b c d", list("abcd")), 60, PromptLength(1.5, 2.0), RATE_HZ, make_rng(0, "cut"))
    assert cut is not None
    assert [each.word for each in cut.words] == ["c", "d"]
    assert cut.words[0].start_sec == pytest.approx(2.0 - cut.num_frames / RATE_HZ)


def test_without_a_usable_boundary_there_is_no_word_cut():
    assert all_word_cuts(spoken("One", ["one"]), 60) == set()
    assert all_word_cuts(Utterance("id", Path("id.wav"), "No times here."), 60) == set()
    assert all_word_cuts(spoken("One two -", ["one", "two", "-"]), 60) == set()  # only a dash would be left


@pytest.fixture
def word_timed(nano_adapter, make_encoded):
    rng = make_rng(0, "latents")
    latents = torch.randn(60, nano_adapter.flow_lm.ldim, generator=rng)
    energy_db = -20 + 5 * torch.randn(60, generator=rng)
    words = spoken("", ["well", "stop", "now", "or", "run"]).words
    return make_encoded("clip", {"latents": latents, "energy_db": energy_db}, "Well, stop now; or run!", words=words)


def test_an_utterances_own_beginning_and_the_rest_are_the_whole_utterance(nano_adapter, word_timed):
    nano_adapter.prompt, nano_adapter.final_period_dropout = PromptLength(max_sec=10.0, trim_max_sec=0.0), 0.0
    batch = nano_adapter.collate([Example(word_timed, word_timed, seed=3)])
    num_prompt_frames = int(batch.prompt_mask.sum())
    joined = torch.cat([batch.prompt_latents[0, :num_prompt_frames], batch.latents[0, : batch.num_frames[0]]])
    assert torch.equal(joined, word_timed.features()["latents"])
    tokens = batch.text_tokens[0, batch.text_mask[0]].tolist()
    rest = {22: "now; or run!", 35: "or run!"}[num_prompt_frames]
    assert tokens == nano_adapter.text.tokens(rest)


def test_a_clip_that_cannot_be_cut_is_prompted_by_another_one(nano_adapter, word_timed, make_encoded):
    """Short clips with word times once trained without any voice, and nothing said so."""
    short = word_timed.features()
    features = {
        name: values[:30] for name, values in short.items()
    }  # 2.4 s: boundaries at .8 and 1.8 s, neither usable
    words = spoken("", ["well", "stop", "now"]).words
    clips = [make_encoded(name, features, "Well, stop now.", words=words) for name in ("one", "two")]
    pool = nano_adapter.prompt_pool([*clips, word_timed])
    rng = make_rng(0, "pool")
    assert {pool.choose(clips[0], rng).utterance.id for _ in range(40)} == {"two", "clip"}
    assert pool.choose(word_timed, rng) is word_timed
    batch = nano_adapter.collate(
        [Example(clip, pool.choose(clip, rng), seed=3, place=i) for i, clip in enumerate(clips)]
    )
    assert batch.prompt_mask.any(dim=1).all()
    assert nano_adapter.prompt_pool(clips[:1]).num_without_prompt == 1


def test_own_beginnings_can_be_turned_off(nano_adapter, word_timed, make_encoded):
    nano_adapter.prompt = PromptLength(own_beginning=False)
    other = make_encoded("other", word_timed.features(), "Another clip.")
    assert nano_adapter.prompt_pool([word_timed, other]).choose(word_timed, make_rng(0, "pool")) is other


def test_the_prompt_is_a_function_of_the_examples_seed(nano_adapter, make_example):
    def prompt(seed: int) -> torch.Tensor:
        example = make_example(nano_adapter, "row", 20, "Some words.", num_prompt_frames=90, seed=seed)
        return nano_adapter.collate([example]).prompt_latents

    assert torch.equal(prompt(5), prompt(5))
    assert len({prompt(seed).shape[1] for seed in range(8)}) > 2


def test_a_prompt_from_another_clip_is_its_beginning_and_leaves_the_target_whole(nano_adapter, make_example):
    example = make_example(nano_adapter, "row", 20, "Some words.", num_prompt_frames=40)
    batch = nano_adapter.collate([example])
    count = int(batch.prompt_mask.sum())
    assert 12 <= count <= 40
    assert torch.equal(batch.prompt_latents[0, :count], example.prompt.features()["latents"][:count])
    assert torch.equal(batch.latents[0, :20], example.target.features()["latents"])


def test_a_trimmed_prompt_loses_up_to_half_a_second_but_keeps_one():
    length = PromptLength(trim_max_sec=0.5)
    left = {trimmed(40, length, RATE_HZ, make_rng(seed, "trim")) for seed in range(80)}
    assert left == set(range(34, 41))  # 0.5 s are 6 frames
    assert {trimmed(14, length, RATE_HZ, make_rng(seed, "trim")) for seed in range(80)} == {12, 13, 14}
    assert trimmed(9, length, RATE_HZ, make_rng(0, "trim")) == 9
    assert trimmed(40, PromptLength(trim_max_sec=0.0), RATE_HZ, make_rng(0, "trim")) == 40


def test_final_periods_are_left_out_as_often_as_asked_and_other_marks_stay(nano_adapter, make_example):
    nano_adapter.final_period_dropout = 0.3

    def tokens(text: str, seed: int) -> list[int]:
        batch = nano_adapter.collate([make_example(nano_adapter, "row", 20, text, seed=seed)])
        return batch.text_tokens[0, batch.text_mask[0]].tolist()

    without = nano_adapter.text.tokens("Some words.", final_period=False)
    assert without == nano_adapter.text.tokens("Some words.")[: len(without)]
    dropped = sum(tokens("Some words.", seed) == without for seed in range(200))
    assert 40 < dropped < 80
    assert {len(tokens("Some words?", seed)) for seed in range(50)} == {len(nano_adapter.text.tokens("Some words?"))}


def encoded_in_two(nano_adapter, path: Path, folder: Path, second_word_sec: float):
    words = (WordTime("first", 0.1, second_word_sec - 0.1), WordTime("second", second_word_sec + 0.1, 2.5))
    utterance = Utterance("clip", path, "First second.", words=words)
    (clip,) = encode_recordings([utterance], nano_adapter, folder, 0.08, 30.0, progress=False).encoded
    return clip


def test_a_target_after_a_cut_begins_as_if_nothing_had_been_said_before(nano_adapter, speech_file, tmp_path):
    """It once began in the codec's memory of the prompt, which playing never has."""
    nano_adapter.prompt = PromptLength(trim_max_sec=0.0)
    clip = encoded_in_two(nano_adapter, speech_file, tmp_path, 1.3)
    batch = nano_adapter.collate([Example(clip, clip, seed=0)])
    cut, num_frames = int(batch.prompt_mask.sum()), int(batch.num_frames[0])
    assert cut == round(1.3 * RATE_HZ)
    samples = load_clip(clip.utterance, nano_adapter.sample_rate_hz, 0.08).samples
    rest = samples[cut * nano_adapter.mimi.frame_size :]
    with torch.no_grad():
        cold = nano_adapter.mimi.encode_to_latent(rest[None, None])[0]
    target, whole = batch.latents[0, :num_frames], clip.features()["latents"][cut:]
    torch.testing.assert_close(target[:COLD_FRAMES], cold[:COLD_FRAMES], rtol=1e-3, atol=1e-3)
    deviation = nano_adapter.flow_lm.emb_std
    assert float(((whole - cold[:num_frames]) / deviation)[0].abs().mean()) > 0.05
    assert float(((target - cold[:num_frames]) / deviation).abs().mean(dim=1).max()) < 0.05
    assert torch.equal(target[COLD_FRAMES:], whole[COLD_FRAMES:])


def test_clips_that_never_prompt_themselves_are_encoded_once_and_kept_apart(nano_adapter, speech_file, tmp_path):
    nano_adapter.prompt = PromptLength(own_beginning=False)
    assert "cuts" not in encoded_in_two(nano_adapter, speech_file, tmp_path, 1.3).features()
    nano_adapter.prompt = PromptLength()
    assert "cuts" in encoded_in_two(nano_adapter, speech_file, tmp_path, 1.3).features()


def test_other_word_times_are_not_read_from_the_cache_of_the_first(nano_adapter, speech_file, tmp_path):
    first = encoded_in_two(nano_adapter, speech_file, tmp_path, 1.3)
    other = encoded_in_two(nano_adapter, speech_file, tmp_path, 1.0)
    assert first.features()["cuts"].tolist() == [16]
    assert other.features()["cuts"].tolist() == [12]
    assert (
        "cuts"
        not in encode_recordings(
            [Utterance("clip", speech_file, "First second.")], nano_adapter, tmp_path, 0.08, 30.0, progress=False
        )
        .encoded[0]
        .features()
    )
