"""The library of voices: what it keeps, what is made once, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.adapters import voice_library
from calm_ft.adapters.base import TTSAdapter, text_beside
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.voice_library import VoiceLibrary, VoiceNotes, find_recording, find_voice, library_folder
from calm_ft.errors import UserError
from tests.conftest import DEMO_TRAIN, NANO, default_objective
from tests.outside_system.adapter import SpectrumAdapter

NOTES = VoiceNotes("CC BY 4.0", "Anna signed on 2026-01-31")
CLIPS = sorted(DEMO_TRAIN.glob("*.ogg"))


@pytest.fixture(scope="module")
def nano() -> PocketTTSAdapter:
    """Not to be changed."""
    return PocketTTSAdapter(str(NANO), default_objective()).eval()


@pytest.fixture
def library(tmp_path: Path) -> VoiceLibrary:
    return VoiceLibrary(tmp_path / "voices")


def states(library: VoiceLibrary, name: str) -> list[Path]:
    return sorted((library.folder / name).glob("*-*.safetensors"))


def equal(one: Any, other: Any) -> bool:
    return all(
        torch.equal(value.nan_to_num(), other[name][key].nan_to_num())
        for name, part in one.items()
        for key, value in part.items()
    )


def count_calls(monkeypatch: pytest.MonkeyPatch, adapter: TTSAdapter, method: str) -> list[object]:
    calls: list[object] = []
    original = getattr(adapter, method)

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(adapter, method, counted)
    return calls


def test_a_voice_holds_its_recordings_joined_their_texts_and_the_notes(library: VoiceLibrary) -> None:
    added = library.add("anna", CLIPS[:2], NOTES)
    voice = library.entry("anna")
    assert voice == added.voice
    assert (voice.licence, voice.consent) == ("CC BY 4.0", "Anna signed on 2026-01-31")
    assert [part.name for part in voice.parts] == [path.name for path in CLIPS[:2]]
    assert [part.text for part in voice.parts] == [text_beside(path) for path in CLIPS[:2]]
    samples, rate_hz = soundfile.read(library.recording("anna"))
    assert rate_hz == soundfile.info(CLIPS[0]).samplerate
    assert len(samples) / rate_hz == pytest.approx(voice.duration_sec, abs=1e-3)
    assert text_beside(library.recording("anna")) == " ".join(str(part.text) for part in voice.parts)
    assert library.names() == ["anna"]


def test_recordings_are_joined_at_the_best_rate_among_them(library: VoiceLibrary, tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(CLIPS[0])
    soundfile.write(tmp_path / "fine.wav", np.repeat(samples, 3), 3 * rate_hz)
    library.add("anna", [CLIPS[1], tmp_path / "fine.wav"], NOTES)
    assert soundfile.info(library.recording("anna")).samplerate == 3 * rate_hz
    assert library.entry("anna").parts[1].text is None
    assert text_beside(library.recording("anna")) is None


def test_broken_silent_and_clipped_recordings_are_named_and_left_out(library: VoiceLibrary, tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(CLIPS[0])
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "silent.wav", np.zeros(rate_hz), rate_hz)
    soundfile.write(tmp_path / "clipped.wav", np.clip(9 * samples, -0.9, 0.9), rate_hz)
    bad = [tmp_path / f"{name}.wav" for name in ("broken", "silent", "clipped")]
    added = library.add("anna", [*bad, CLIPS[0]], NOTES)
    assert [Path(each.path).stem for each in added.left_out] == ["broken", "silent", "clipped"]
    assert [part.name for part in added.voice.parts] == [CLIPS[0].name]
    with pytest.raises(UserError, match=r"None of the recordings can be used .*broken.wav.*silent.wav.*clipped.wav"):
        library.add("ben", bad, NOTES)
    assert library.names() == ["anna"]


def test_a_state_is_made_once_for_the_weights_that_shape_it_and_read_afterwards(
    library: VoiceLibrary, nano: PocketTTSAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("anna", CLIPS[:2], NOTES)
    made = count_calls(monkeypatch, nano, "load_voices")
    first = library.voice("anna", nano)
    again = library.voice("anna", nano)
    assert len(made) == 1
    assert equal(first, again)
    (path,) = states(library, "anna")
    assert path.name == f"pocket_tts-{nano.voice_fingerprint()}.safetensors"
    assert path.stat().st_mode & 0o777 == 0o644
    assert library.systems("anna") == ["pocket_tts"]


def test_trained_heads_keep_a_state_and_a_trained_backbone_makes_another(library: VoiceLibrary) -> None:
    adapter = PocketTTSAdapter(str(NANO), default_objective()).eval()
    library.add("anna", CLIPS[:1], NOTES)
    before = library.voice("anna", adapter)
    with torch.no_grad():
        for name, parameter in adapter.flow_lm.named_parameters():
            if name.startswith(("flow_net.", "out_eos.")):
                parameter.mul_(1.1)
    assert equal(library.voice("anna", adapter), before)
    assert equal(adapter.load_voice(library.recording("anna")), before)
    assert len(states(library, "anna")) == 1
    with torch.no_grad():
        adapter.flow_lm.transformer.layers[0].norm1.weight.mul_(1.1)
    assert not equal(library.voice("anna", adapter), before)
    assert len(states(library, "anna")) == 2


def test_a_damaged_state_is_made_again_of_the_recording(library: VoiceLibrary, nano: PocketTTSAdapter) -> None:
    library.add("anna", CLIPS[:1], NOTES)
    voice = library.voice("anna", nano)
    (path,) = states(library, "anna")
    path.write_bytes(path.read_bytes()[:100])
    assert equal(library.voice("anna", nano), voice)
    assert equal(nano.load_voice(path), voice)


def test_a_library_that_cannot_be_written_is_read(
    library: VoiceLibrary, nano: PocketTTSAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("anna", CLIPS[:1], NOTES)

    def full(voice: object, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nano, "save_voice", full)
    assert equal(library.voice("anna", nano), nano.load_voice(library.recording("anna")))
    assert states(library, "anna") == []
    assert not list((library.folder / "anna").glob(".*"))


def test_a_system_that_keeps_no_voices_hears_all_recordings_each_time_with_their_texts(library: VoiceLibrary) -> None:
    adapter = SpectrumAdapter()
    library.add("anna", CLIPS[:2], NOTES)
    voice = library.voice("anna", adapter)
    texts = [str(text_beside(path)) for path in CLIPS[:2]]
    heard = library.voice("anna", adapter)
    assert torch.equal(voice.spectrum, heard.spectrum)
    whole = adapter.load_voice(library.recording("anna"), " ".join(texts))
    torch.testing.assert_close(voice.spectrum, whole.spectrum, rtol=0.05, atol=0.05)
    torch.testing.assert_close(voice.frames_per_character, whole.frames_per_character, rtol=0.05, atol=0.05)
    with pytest.raises(UserError, match="spectrum_tts keeps no voices"):
        adapter.save_voice(voice, library.folder / "voice.bin")


def test_a_ready_file_plays_with_its_own_system_alone(
    library: VoiceLibrary, nano: PocketTTSAdapter, tmp_path: Path
) -> None:
    ready = tmp_path / "voice.safetensors"
    nano.save_voice(nano.load_voice(CLIPS[0]), ready)
    library.add("anna", [ready], NOTES)
    assert equal(library.voice("anna", nano), nano.load_voice(CLIPS[0]))
    library.add("known", [ready], NOTES, system="another_tts")
    with pytest.raises(UserError, match=r"known is a ready file of another_tts .* and pocket_tts cannot read it"):
        library.voice("known", nano)
    with pytest.raises(UserError, match="spectrum_tts cannot read it"):
        library.voice("anna", SpectrumAdapter())
    with pytest.raises(UserError, match="without a recording, which is needed here"):
        library.recording("anna")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"this is no voice", b"\x80\x04K\x01."])
def test_a_damaged_ready_file_is_refused(library: VoiceLibrary, tmp_path: Path, suffix: str, content: bytes) -> None:
    ready = tmp_path / f"voice{suffix}"
    ready.write_bytes(content)
    with pytest.raises(UserError, match="is not a saved voice"):
        library.add("anna", [ready], NOTES)
    assert library.names() == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../anna", "a/b", "a\\b", ".hidden", "anna ", "Jürgen", "-a", "a" * 65]
)
def test_a_name_that_is_no_safe_folder_is_refused(library: VoiceLibrary, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot name a voice"):
        library.add(name, CLIPS[:1], NOTES)
    assert name not in library
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_is_replaced_only_where_that_is_asked_for(library: VoiceLibrary) -> None:
    library.add("anna", CLIPS[:1], NOTES)
    before = library.recording("anna").read_bytes()
    with pytest.raises(UserError, match="has a voice anna already"):
        library.add("anna", CLIPS[1:2], NOTES)
    with pytest.raises(UserError, match="None of the recordings can be used"):
        library.add("anna", [CLIPS[0].with_suffix(".txt")], NOTES, replace=True)
    assert library.recording("anna").read_bytes() == before
    library.add("anna", CLIPS[1:2], NOTES, replace=True)
    assert library.recording("anna").read_bytes() != before


def test_removing_takes_one_voice_and_nothing_else(library: VoiceLibrary) -> None:
    for name in ("anna", "ben"):
        library.add(name, CLIPS[:1], NOTES)
    (library.folder / "notes.txt").write_text("mine")
    library.remove("anna")
    assert library.names() == ["ben"]
    assert sorted(path.name for path in library.folder.iterdir()) == ["ben", "notes.txt"]
    for name in ("anna", "notes.txt", "..", "."):
        with pytest.raises(UserError, match=r"There is no voice .* which has ben"):
            library.remove(name)


def test_too_short_a_voice_is_refused_when_added_and_by_a_system_that_needs_more(
    library: VoiceLibrary, nano: PocketTTSAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, rate_hz = soundfile.read(CLIPS[0])
    soundfile.write(tmp_path / "short.wav", samples[rate_hz // 2 : round(0.75 * rate_hz)], rate_hz)
    with pytest.raises(UserError, match=r"a voice needs at least 0\.5 s"):
        library.add("anna", [tmp_path / "short.wav"], NOTES)
    library.add("anna", CLIPS[:1], NOTES)
    monkeypatch.setattr(nano, "min_voice_sec", 5.0)
    with pytest.raises(UserError, match=r"lasts 2\.\d s, and pocket_tts needs 5 s: add it again with more"):
        library.voice("anna", nano)


@pytest.mark.parametrize("content", ["{", "[]", '{"parts": 3}', '{"added": "today"}'])
def test_a_damaged_entry_is_one_sentence(library: VoiceLibrary, content: str) -> None:
    library.add("anna", CLIPS[:1], NOTES)
    (library.folder / "anna" / "voice.json").write_text(content)
    with pytest.raises(UserError, match=r"voice.json is damaged"):
        library.entry("anna")


def test_a_damaged_or_missing_recording_is_one_sentence(library: VoiceLibrary, nano: PocketTTSAdapter) -> None:
    library.add("anna", CLIPS[:2], NOTES)
    recording = library.recording("anna")
    recording.write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"recording.wav is damaged"):
        library.voice("anna", nano)
    recording.unlink()
    with pytest.raises(UserError, match=r"recording.wav is missing"):
        library.voice("anna", nano)


def test_a_voice_is_found_by_file_by_name_or_not_at_all(
    library: VoiceLibrary, nano: PocketTTSAdapter, tmp_path: Path
) -> None:
    library.add("anna", CLIPS[:1], NOTES)
    assert equal(find_voice("anna", nano, library), library.voice("anna", nano))
    assert equal(find_voice(str(CLIPS[1]), nano, library), nano.load_voice(CLIPS[1]))
    assert find_recording("anna", library) == library.recording("anna")
    assert find_recording(str(CLIPS[1]), library) == CLIPS[1]
    for find in (lambda: find_voice("ann", nano, library), lambda: find_recording("ann", library)):
        with pytest.raises(UserError, match=r"There is no voice ann: .* of the library \(anna\)\.$"):
            find()
    with pytest.raises(UserError, match="upstream voice 'alba'"):
        find_voice("alba", nano, library)
    shutil.copy(CLIPS[0], tmp_path / "voice.safetensors")
    with pytest.raises(UserError, match="a recording is needed here"):
        find_recording(str(tmp_path / "voice.safetensors"), library)


def test_the_library_lies_where_the_environment_says_or_in_the_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALM_FT_VOICES", str(tmp_path / "mine"))
    assert library_folder() == tmp_path / "mine"
    assert VoiceLibrary().names() == []
    monkeypatch.delenv("CALM_FT_VOICES")
    monkeypatch.setattr(voice_library.platformdirs, "user_data_dir", lambda *_: str(tmp_path / "data"))
    assert library_folder() == tmp_path / "data" / "voices"


def test_every_file_of_a_voice_can_be_read_by_others_who_share_the_library(library: VoiceLibrary) -> None:
    library.add("anna", CLIPS[:1], NOTES)
    content = json.loads((library.folder / "anna" / "voice.json").read_text())
    assert content["parts"][0]["name"] == CLIPS[0].name
    assert str(CLIPS[0].parent) not in json.dumps(content)  # names alone: nobody else has this machine's folders
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in (library.folder / "anna").iterdir())
