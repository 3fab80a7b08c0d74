"""Voice prompts: whose, how often, and when there is none."""

from collections import Counter
from dataclasses import replace

from calm_ft.data.prompts import PromptPool


def chosen_id(pool, clip, rng):
    prompt = pool.choose(clip, rng)
    assert prompt is not None
    return prompt.utterance.id


def test_a_prompt_is_another_clip_of_the_same_speaker_all_equally_likely(make_encoded, rng):
    clips = [make_encoded(f"{speaker}{n}", speaker=speaker) for n in range(4) for speaker in ("anna", "ben")]
    pool = PromptPool(clips)
    chosen = Counter(chosen_id(pool, clips[2], rng) for _ in range(3000))
    assert chosen.keys() == {"anna0", "anna2", "anna3"}
    assert all(abs(count - 1000) < 120 for count in chosen.values())  # 4.6 standard deviations


def test_the_same_audio_under_another_name_is_no_prompt(make_encoded, rng):
    clips = [make_encoded(f"clip{n}") for n in range(5)]
    copies = [replace(make_encoded(f"copy{n}"), key=clips[1].key) for n in range(2)]
    pool = PromptPool([copies[0], *clips, copies[1]])
    chosen = Counter(chosen_id(pool, copies[1], rng) for _ in range(3000))
    assert chosen.keys() == {"clip0", "clip2", "clip3", "clip4"}
    assert all(abs(count - 750) < 120 for count in chosen.values())
    assert {chosen_id(pool, clips[0], rng) for _ in range(200)} == {
        "copy0",
        "copy1",
        "clip1",
        "clip2",
        "clip3",
        "clip4",
    }
    twins = PromptPool([clips[1], *copies])
    assert twins.choose(clips[1], rng) is None
    assert twins.num_without_prompt == 3


def test_a_clip_outside_the_pool_is_prompted_by_any_clip_of_its_speaker(make_encoded, rng):
    pool = PromptPool([make_encoded("a"), make_encoded("b")])
    chosen = {chosen_id(pool, make_encoded("new"), rng) for _ in range(50)}
    assert chosen == {"a", "b"}


def test_a_speaker_with_one_clip_has_no_prompt_and_is_counted(make_encoded, rng):
    lone = make_encoded("lone", speaker="carla")
    pool = PromptPool([make_encoded("a"), make_encoded("b"), lone])
    assert pool.choose(lone, rng) is None
    assert pool.choose(make_encoded("new", speaker="unknown"), rng) is None
    assert pool.num_without_prompt == 1


def test_a_clip_that_prompts_itself_needs_no_other(make_encoded, rng):
    timed = make_encoded("timed", speaker="carla")
    pool = PromptPool([make_encoded("a"), timed], lambda clip: clip is timed)
    assert pool.choose(timed, rng) is timed
    assert pool.num_without_prompt == 1
