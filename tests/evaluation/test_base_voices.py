"""Voices that a run is not tuned to: which are found, spoken in, and told apart."""

import shutil
from pathlib import Path

import pytest

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from calm_ft.evaluation.base_voices import choose_base_voices, read_voice_folders, recordings_to_identify_by
from tests.evaluation.conftest import VOICES


@pytest.fixture
def voices_dir(tmp_path: Path) -> Path:
    """Two voices of three clips each, and one of which a single recording can be used."""
    for name, source, num_clips in (("anna", "f2", 3), ("ben", "reed", 3), ("lonely", "f4", 1)):
        folder = tmp_path / "voices" / name
        folder.mkdir(parents=True)
        for audio in sorted((VOICES / source).glob("*.ogg"))[:num_clips]:
            shutil.copy(audio, folder)
            shutil.copy(audio.with_suffix(".txt"), folder)
    (tmp_path / "voices" / "lonely" / "torn.ogg").write_bytes(b"OggS")
    (tmp_path / "voices" / "lonely" / "torn.txt").write_text("Torn.")
    return tmp_path / "voices"


def test_each_folder_is_a_voice_and_ids_do_not_collide(voices_dir: Path) -> None:
    voices = read_voice_folders(voices_dir, "evaluation.base_voices")
    assert list(voices) == ["anna", "ben", "lonely"]
    assert {each.speaker for each in voices["ben"]} == {"ben"}
    ids = [each.id for utterances in voices.values() for each in utterances]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("place", "said"), [("nowhere", "is not a folder"), ("empty", "holds no folder")])
def test_base_voices_that_are_not_there_are_refused_with_the_setting(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"evaluation.base_voices={tmp_path / place} {said}"):
        read_voice_folders(tmp_path / place, "evaluation.base_voices")


def test_a_voice_is_prompted_by_one_recording_and_says_the_others(adapter: PocketTTSAdapter, voices_dir: Path) -> None:
    found = read_voice_folders(voices_dir, "evaluation.base_voices")
    chosen = choose_base_voices(found, adapter, num_sentences=9, max_voices=9, seed=0)
    assert [(voice.name, len(voice.references)) for voice in chosen.voices] == [("anna", 2), ("ben", 2)]
    assert [index for voice in chosen.voices for index in voice.references] == [0, 1, 2, 3]
    for voice in chosen.voices:
        said = {each.text for each in voice.references.values()}
        (prompting,) = {each.text for each in found[voice.name]} - said
        assert len(said) == 2
        assert prompting
        assert {each.voice for each in voice.references.values()} == {voice.name}
    reasons = {Path(each.path).name: each.reason for each in chosen.excluded}
    assert reasons.keys() == {"lonely", "torn.ogg"}
    assert "two recordings" in reasons["lonely"]
    few = choose_base_voices(found, adapter, num_sentences=1, max_voices=1, seed=0)
    assert [(voice.name, len(voice.references)) for voice in few.voices] == [("anna", 1)]


def test_where_no_voice_can_be_used_the_reason_is_said(adapter: PocketTTSAdapter, voices_dir: Path) -> None:
    found = read_voice_folders(voices_dir, "evaluation.base_voices")
    with pytest.raises(UserError, match=r"None of the base voices lonely can be used \(.*\): give other recordings"):
        choose_base_voices({"lonely": found["lonely"]}, adapter, num_sentences=1, max_voices=1, seed=0)


def test_a_voice_without_two_recordings_is_not_identified(adapter: PocketTTSAdapter, voices_dir: Path) -> None:
    known = recordings_to_identify_by(read_voice_folders(voices_dir, "x"), adapter, seed=0)
    assert {name: len(clips) for name, clips in known.items()} == {"anna": 3, "ben": 3}
