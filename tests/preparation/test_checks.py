"""Checks on rows whose right answer is known from how they were made."""

import random
from dataclasses import replace

import numpy as np
import pytest

from calm_ft.preparation import checks
from calm_ft.preparation.checks import Evidence, check_clips, check_set, leaves_out, problems_of
from calm_ft.preparation.clips import PreparedClip
from calm_ft.preparation.kinds import KINDS, kind_of

LETTERS_PER_SEC = 14.0
NOTHING = Evidence()


def clip(id: str, text: str, duration_sec: float | None = None, **other) -> PreparedClip:
    """A clip spoken at 14 letters a second unless its length is given."""
    speech_sec = duration_sec or checks.num_letters(text) / LETTERS_PER_SEC
    values = {"speaker": "anna", "text_from": "given", "measures": {"speech_sec": speech_sec}, **other}
    return PreparedClip(
        id=id,
        path=f"clips/{id}.flac",
        source=f"{id}.wav",
        source_start_sec=0.0,
        source_end_sec=speech_sec,
        original_text=text,
        text=text,
        duration_sec=speech_sec + 0.4,
        **values,
    )


def good_clips(num_clips: int = 60) -> list[PreparedClip]:
    """Different sentences, each at its own rate of 12 to 16 letters a second."""
    random_ = random.Random(1)
    clips = []
    for number in range(num_clips):
        words = ["".join(random_.choices("abcdefghij", k=random_.randint(2, 9))) for _ in range(random_.randint(4, 20))]
        text = " ".join(words)
        seconds = checks.num_letters(text) / random_.uniform(12, 16)
        clips.append(clip(f"c{number:03d}", text, seconds, confidence=random_.uniform(0.75, 1.0)))
    return clips


def kinds_by_clip(clips, evidence: Evidence = NOTHING) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in check_clips(clips, evidence):
        assert each.clip is not None
        found.setdefault(each.clip, set()).add(each.kind)
    return found


def test_clean_clips_have_no_finding():
    assert kinds_by_clip(good_clips()) == {}


def test_a_clip_cut_in_half_with_its_whole_text_is_found_and_no_other():
    clips = good_clips()
    half = clips[7].measures["speech_sec"] / 2
    clips[7] = replace(clips[7], measures={"speech_sec": half}, duration_sec=half + 0.4)
    assert kinds_by_clip(clips) == {"c007": {"text_too_long"}}


def test_a_text_with_three_quarters_missing_is_found_and_no_other():
    clips = good_clips()
    words = clips[7].text.split()
    clips[7] = replace(clips[7], text=" ".join(words[: len(words) // 4]))
    assert kinds_by_clip(clips) == {"c007": {"text_too_short"}}


def test_impossible_rates_are_found_even_where_a_speaker_has_one_clip():
    assert kinds_by_clip([clip("a", "this cannot be said in half a second by anybody", 0.5)]) == {
        "a": {"text_too_long"}
    }
    assert kinds_by_clip([clip("a", "hello to all of you", 30.0)]) == {"a": {"text_too_short"}}


def test_chinese_is_judged_by_the_rates_of_syllables():
    assert kinds_by_clip([clip("a", "今天天气很好我们去公园散步吧", 3.0)]) == {}


def test_each_speaker_is_judged_by_its_own_rate():
    slow = [
        replace(each, id=f"slow-{each.id}", speaker="bert", measures={"speech_sec": 2.2 * each.measures["speech_sec"]})
        for each in good_clips()
    ]
    assert {id for id, kinds in kinds_by_clip([*good_clips(), *slow]).items() if "text_too_short" in kinds} == set()


def test_a_speaker_of_two_languages_is_judged_in_each_by_its_own_rate():
    quick = [
        replace(each, id=f"es-{each.id}", named_language="es", measures={"speech_sec": each.measures["speech_sec"] / 2})
        for each in good_clips()
    ]
    slow = [replace(each, named_language="en") for each in good_clips(120)]
    slow[7] = replace(slow[7], measures={"speech_sec": slow[7].measures["speech_sec"] / 2})  # as quick as the others
    found = {id: kinds - {"repeated_text"} for id, kinds in kinds_by_clip([*slow, *quick]).items()}
    assert {id: kinds for id, kinds in found.items() if kinds} == {"c007": {"text_too_long"}}


def test_a_text_that_agrees_badly_with_its_sound_is_left_out():
    clips = good_clips()
    clips[3] = replace(clips[3], confidence=0.1)
    (finding,) = check_clips(clips, Evidence())
    assert (finding.kind, finding.clip) == ("wrong_text", "c003")
    assert leaves_out(finding)


def test_a_voice_that_the_judge_does_not_understand_keeps_its_clips_and_is_named():
    clips = [replace(each, confidence=0.01) for each in good_clips()]
    (finding,) = check_clips(clips, Evidence())
    assert (finding.kind, finding.clip) == ("unjudged_texts", None)


def test_a_transcript_that_the_recogniser_doubts_is_left_out_and_a_fair_one_is_kept():
    clips = [clip(id, "one two three", text_from="heard", confidence=value) for id, value in (("a", 0.1), ("b", 0.4))]
    assert kinds_by_clip(clips)["a"] >= {"unsure_text"}
    assert "unsure_text" not in kinds_by_clip(clips)["b"]


def test_one_word_is_a_warning_and_two_are_none():
    found = kinds_by_clip([clip("a", "Hello!"), clip("b", "Hello there.")])
    assert found == {"a": {"one_word"}}
    assert kind_of("one_word").severity == "warning"


def test_of_copies_the_one_with_the_surest_text_is_kept():
    clips = [clip("a", "one two three four", confidence=0.8), clip("b", "one two three four", confidence=0.9)]
    found = kinds_by_clip(clips, Evidence(same_sound=[("a", "b")]))
    assert "duplicate" in found["a"]
    assert "duplicate" not in found["b"]


def test_copies_with_unlike_texts_are_all_left_out_unless_one_is_surer():
    texts = ["one two three four", "something else is written here"]
    unsure = [clip(id, text) for id, text in zip("ab", texts, strict=True)]
    group = Evidence(same_sound=[("a", "b")])
    assert kinds_by_clip(unsure, group) == {"a": {"same_sound_other_text"}, "b": {"same_sound_other_text"}}
    sure = [replace(each, confidence=value) for each, value in zip(unsure, (0.9, 0.5), strict=True)]
    assert kinds_by_clip(sure, group) == {"b": {"duplicate"}}


def test_a_copy_of_a_clip_that_is_left_out_is_kept():
    copies = [clip("a", "one two three four", confidence=0.05), clip("b", "one two three four", confidence=None)]
    clips = [*good_clips(), *copies]
    found = kinds_by_clip(clips, Evidence(same_sound=[("a", "b")]))
    assert "wrong_text" in found["a"]
    assert "duplicate" not in found["b"]


def test_a_list_of_texts_shifted_by_a_row_is_found():
    clips = good_clips()
    shifted = [replace(each, text=clips[n - 1].text) for n, each in enumerate(clips)]
    kinds = {each.kind for each in check_set(shifted, Evidence())}
    assert "unrelated_texts" in kinds
    assert "unrelated_texts" not in {each.kind for each in check_set(clips, Evidence())}


def test_little_and_unbalanced_speech_is_said():
    clips = [*good_clips(200), clip("x", "one two three four", speaker="bert")]
    found = {each.kind: each.detail for each in check_set(clips, Evidence())}
    assert "bert speaks for 0.0 minutes" in found["small_set"]
    assert "anna" in found["unbalanced"]


def test_a_clip_that_a_person_left_out_is_left_out_and_one_fault_of_the_sound_is_a_warning():
    clips = [clip("a", "one two three", faults=(("noisy", "SNR 3 dB"),)), clip("b", "four five six")]
    findings = check_clips(clips, Evidence(rejected=frozenset("b")))
    assert {(each.clip, each.kind, leaves_out(each)) for each in findings} == {
        ("a", "noisy", False),
        ("b", "left_out_by_hand", True),
    }


def test_problems_are_counted_by_kind_with_the_errors_first():
    clips = [*good_clips(), clip("a", "Hello"), clip("b", "Hi"), clip("c", "one two three four five", confidence=0.0)]
    problems = problems_of(check_clips(clips, Evidence()))
    assert [(each.kind, each.severity, each.clips) for each in problems] == [
        ("wrong_text", "error", ("c",)),
        ("one_word", "warning", ("a", "b")),
    ]
    assert all(len(each.details) == len(each.clips) and each.mend for each in problems)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_what_it_is_and_how_it_is_mended(name):
    kind = KINDS[name]
    assert kind.title
    assert kind.mend
    assert not kind.title.endswith(".")
    assert not kind.mend.endswith(".")


def test_robust_scores_do_not_hide_an_outlier_behind_itself():
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 100), [50.0]])
    assert checks.robust_scores(values)[-1] > 30
    assert np.abs(checks.robust_scores(values)[:-1]).max() < 5


@pytest.mark.slow
def test_a_hundred_thousand_clips_are_checked():
    some = good_clips(1000)
    clips = [replace(each, id=f"{each.id}-{n}", speaker=f"s{n}") for n in range(100) for each in some]
    assert len(check_clips(clips, Evidence())) == 100_000  # every text is said by a hundred clips, and nothing else
