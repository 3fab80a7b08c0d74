"""Which sentences are said."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.utterance import Utterance
from calm_ft.evaluation.sentences import choose_sentences, choose_usable, load_recording
from tests.adapters.chatterbox_multilingual.conftest import make_adapter
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


def test_a_model_of_several_languages_says_sentences_of_its_own_and_one_of_one_language_says_all(
    adapter: PocketTTSAdapter, write_recording: Write
) -> None:
    spoken = [write_recording(f"sentence {index}", voiced(120, 0.5)) for index in range(6)]
    listed = [replace(each, language=language) for each, language in zip(spoken, ["fr", "de", ""] * 2, strict=True)]
    usable = choose_usable(listed, make_adapter(language="fr"), 6, seed=0)
    assert {each.language for each in usable.utterances} == {"fr", ""}
    assert len(usable.utterances) == 4
    (row,) = usable.excluded
    assert re.fullmatch(r"they are in de, and .* adapter.language=fr alone", row.reason)
    assert row.path == "2 recordings"
    assert len(choose_usable(listed, adapter, 6, seed=0).utterances) == 6
