"""Which sentences are said, and which recording prompts the voice."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.audio import Clip, load_clip
from calm_ft.data.feature_cache import FeatureCache
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.evaluation import sentences
from calm_ft.evaluation.sentences import (
    MAX_PROMPT_SEC,
    choose_prompt,
    choose_sentences,
    choose_usable,
    load_recording,
    longest_prompt,
)
from tests.metrics.conftest import RATE_HZ, voiced

LISTED = [Utterance(f"{index:02d}", Path(f"{index}.wav"), f"sentence {index}") for index in range(30)]
Write = Callable[..., Utterance]


def test_a_smaller_choice_is_the_beginning_of_a_larger_one_and_depends_on_the_seed_alone() -> None:
    chosen = choose_sentences(LISTED, 12, seed=0)
    assert len(chosen) == 12
    assert choose_sentences(LISTED, 5, seed=0) == chosen[:5]
    assert choose_sentences(random.Random(0).sample(LISTED, 30), 12, seed=0) == chosen
    assert choose_sentences(LISTED[::-1], 12, seed=0) == chosen
    assert choose_sentences(LISTED, 12, seed=1) != chosen
    assert set(each.id for each in chosen) != set(each.id for each in LISTED[:12])
    assert choose_sentences(LISTED, 99, seed=0)[:12] == chosen
    assert len(choose_sentences(LISTED, 99, seed=0)) == 30


def test_a_choice_changes_little_when_a_recording_is_taken_away() -> None:
    chosen = choose_sentences(LISTED, 12, seed=0)
    without = choose_sentences([each for each in LISTED if each != chosen[3]], 12, seed=0)
    assert without[:11] == [*chosen[:3], *chosen[4:]]


def test_a_sentence_that_is_listed_twice_is_taken_once() -> None:
    listed = [Utterance("a", Path("a.wav"), "same"), Utterance("b", Path("b.wav"), "same")]
    assert [each.id for each in choose_sentences(listed, 8, seed=0)] == ["a"]


def test_others_take_the_places_of_recordings_that_cannot_be_used_and_the_reasons_are_kept(
    adapter: PocketTTSAdapter, write_recording: Write
) -> None:
    good = [write_recording(f"good {index}", voiced(120, 0.5)) for index in range(6)]
    chosen = choose_sentences(good, 3, seed=0)
    chosen[0].audio_path.write_bytes(b"RIFF")
    silent = write_recording(chosen[1].id, np.zeros(RATE_HZ), chosen[1].text)
    wordless = write_recording("wordless", voiced(120), " ")
    usable = choose_usable([*good, wordless], adapter, 3, seed=0)
    expected = [each for each in choose_sentences(good, 6, seed=0) if each not in (chosen[0], silent)]
    assert usable.utterances == expected[:3]
    assert usable.texts == [each.text for each in expected[:3]]
    for utterance, samples in zip(usable.utterances, usable.recordings, strict=True):
        assert torch.equal(samples, load_recording(utterance, adapter.sample_rate_hz))
    reasons = {each.path: each.reason for each in usable.excluded}
    assert {str(chosen[0].audio_path), str(silent.audio_path)} <= reasons.keys()
    assert "silent" in reasons[str(silent.audio_path)]
    alone = choose_usable([wordless], adapter, 3, seed=0)
    assert (alone.utterances, len(alone.excluded)) == ([], 1)


def fading(duration_sec: float) -> np.ndarray:
    """A voice that ends as speech does."""
    audio = voiced(120, duration_sec)
    audio[-RATE_HZ // 4 :] *= np.linspace(1, 0, RATE_HZ // 4) ** 2
    return audio


def half_silent(duration_sec: float) -> np.ndarray:
    audio = fading(duration_sec)
    audio[len(audio) // 8 : -len(audio) // 4] = 0
    return audio


SOUNDS: dict[str, Callable[[float], np.ndarray]] = {
    "sound": fading,
    "cut in a word": lambda duration_sec: voiced(120, duration_sec),
    "clipped": lambda duration_sec: np.clip(8 * fading(duration_sec), -1, 1),
    "half silent": half_silent,
}


@pytest.fixture
def write_clip(write_recording: Write, tmp_path: Path) -> Callable[..., EncodedUtterance]:
    """An encoded clip whose recording is of a kind of `SOUNDS`, or is not there at all."""
    cache = FeatureCache(tmp_path / "features", "none")

    def write(name: str, duration_sec: float, kind: str = "sound", speaker: str = "anna") -> EncodedUtterance:
        utterance = Utterance(name, tmp_path / f"{name}.wav", "Text.", speaker)
        if kind != "gone":
            utterance = write_recording(name, SOUNDS[kind](duration_sec), "Text.", speaker)
        return EncodedUtterance(utterance, round(12.5 * duration_sec), duration_sec, name, cache)

    return write


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the recordings that were decoded."""
    ids: list[str] = []

    def counted(utterance: Utterance, sample_rate_hz: int, tail_sec: float) -> Clip:
        ids.append(utterance.id)
        return load_clip(utterance, sample_rate_hz, tail_sec)

    monkeypatch.setattr(sentences, "load_clip", counted)
    return ids


def test_the_prompt_is_the_main_speakers_longest_clip_within_the_limit_and_no_other_clip_is_decoded(
    write_clip: Callable[..., EncodedUtterance], decoded: list[str]
) -> None:
    clips = [
        *(write_clip(f"short {index}", 3.0, "gone") for index in range(4)),
        write_clip("best", 4.0),
        write_clip("longer", 12.0, "gone"),
        write_clip("another speaker's", 9.0, "gone", speaker="ben"),
    ]
    prompt = choose_prompt(clips, RATE_HZ)
    assert prompt.utterance.id == "best"
    assert len(prompt.samples) / RATE_HZ == pytest.approx(4.0, abs=0.3)
    assert set(decoded) == {"best"}


@pytest.mark.parametrize("kind", ["cut in a word", "clipped", "half silent"])
def test_an_unsound_clip_is_passed_over_where_there_is_a_better_one(
    kind: str, write_clip: Callable[..., EncodedUtterance], decoded: list[str]
) -> None:
    clips = [write_clip("unsound", 4.0, kind), write_clip("sound", 3.0), write_clip("short", 2.0, "gone")]
    assert choose_prompt(clips, RATE_HZ).utterance.id == "sound"
    assert set(decoded) == {"unsound", "sound"}


def test_where_all_are_unsound_the_longest_is_taken_after_a_few_were_heard(
    write_clip: Callable[..., EncodedUtterance], decoded: list[str]
) -> None:
    clips = [write_clip(f"{index:02d}", 3.0 - 0.1 * index, "cut in a word") for index in range(12)]
    assert choose_prompt(clips, RATE_HZ).utterance.id == "00"
    assert len(set(decoded)) == 8


def test_where_all_are_too_long_it_is_the_beginning_of_the_shortest(
    write_clip: Callable[..., EncodedUtterance], decoded: list[str]
) -> None:
    clips = [write_clip("long", 12.0, "gone"), write_clip("shortest", 11.0)]
    prompt = choose_prompt(clips, RATE_HZ)
    assert prompt.utterance.id == "shortest"
    assert len(prompt.samples) == MAX_PROMPT_SEC * RATE_HZ
    whole = load_recording(prompt.utterance, RATE_HZ)
    torch.testing.assert_close(prompt.samples, whole[: len(prompt.samples)], rtol=0, atol=1e-4)
    assert set(decoded) == {"shortest"}


def test_a_prompt_that_was_deleted_is_named(write_clip: Callable[..., EncodedUtterance]) -> None:
    gone = write_clip("gone", 3.0, "gone")
    with pytest.raises(UserError, match=f"{gone.utterance.audio_path} cannot be used"):
        choose_prompt([gone], RATE_HZ)


@pytest.mark.parametrize(("durations_sec", "chosen"), [([3.0, 9.0, 5.0], 1), ([3.0, 12.0], 0), ([14.0, 11.0, 12.0], 1)])
def test_of_decoded_recordings_the_longest_within_the_limit_prompts(durations_sec: list[float], chosen: int) -> None:
    assert longest_prompt([torch.zeros(round(100 * each)) for each in durations_sec], 100) == chosen


def test_speakers_are_told_apart_by_how_much_they_say_and_not_by_how_often(
    write_clip: Callable[..., EncodedUtterance],
) -> None:
    clips = [write_clip(f"{index}", 1.0, "gone", speaker="often") for index in range(3)] + [write_clip("much", 4.0)]
    assert choose_prompt(clips, RATE_HZ).utterance.id == "much"
    longer = [replace(each, duration_sec=1.5) for each in clips[:3]]
    with pytest.raises(UserError):  # now the other says more, and none of his clips is there
        choose_prompt([*longer, clips[3]], RATE_HZ)
