"""Voices by name, as a user keeps and uses them: the voices command, synthesize, evaluate and train."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm_ft.adapters.base import text_beside
from calm_ft.adapters.voice_library import VoiceLibrary
from scripts import export, synthesize, voices
from tests.conftest import DEMO_TRAIN, NANO
from tests.scripts.run_script import run
from tests.training.tiny_run import run_train

CLIPS = sorted(DEMO_TRAIN.glob("*.ogg"))
TEXT = "Hello there."


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VoiceLibrary:
    monkeypatch.setenv("CALM_FT_VOICES", str(tmp_path / "voices"))
    return VoiceLibrary()


def heard(path: Path) -> np.ndarray:
    return soundfile.read(path)[0]


def test_a_voice_is_added_listed_played_and_removed(
    library: VoiceLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    notes = ["--licence", "CC0", "--consent", "Anna, by letter"]
    given = [CLIPS[0], CLIPS[1], tmp_path / "broken.wav", *notes, "--model", NANO]
    assert run(monkeypatch, voices, "add", "anna", *given) == 0
    said = capsys.readouterr().out
    assert "left out" in said
    assert "broken.wav" in said
    assert "made for pocket_tts" in said
    assert run(monkeypatch, voices, "list") == 0
    listed = capsys.readouterr().out
    seconds = library.entry("anna").duration_sec
    for part in (f"anna ({seconds:.1f} s:", "licence: CC0", "consent: Anna, by letter", "made for pocket_tts"):
        assert part in listed
    played, spoken = tmp_path / "played.wav", tmp_path / "spoken.wav"
    words = ["--text", TEXT, "--output"]
    assert run(monkeypatch, voices, "play", "anna", "--model", NANO, *words, played) == 0
    assert run(monkeypatch, synthesize, NANO, "--voice", "anna", *words, spoken) == 0
    assert np.array_equal(heard(played), heard(spoken))
    assert run(monkeypatch, voices, "remove", "anna") == 0
    assert library.names() == []


def test_without_a_note_of_consent_it_says_what_the_note_is_for(
    library: VoiceLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, voices, "add", "anna", CLIPS[0]) == 0
    assert "--consent keeps a note of who agreed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_speaks_in_a_voice_of_the_library_and_exports_another(
    library: VoiceLibrary,
    tiny: list[str],
    recordings_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, voices, "add", "anna", CLIPS[0], CLIPS[1]) == 0
    other = shutil.copy(CLIPS[5], tmp_path / "an other.ogg")
    out = tmp_path / "run"
    settings = [*tiny, f"data.path={recordings_dir}", f"output_dir={out}", "voice=anna", f"export.voice={other}"]
    assert run_train(monkeypatch, *settings) == 0
    facts = json.loads((out / "run.json").read_text())
    assert facts["voice_prompt"] == str(library.recording("anna"))
    assert facts["voice_prompt_choice"]["reason"] == "as asked for"
    assert facts["export_voice"]["files"] == [str(other)]
    assert f"exported voice: {other}" in capsys.readouterr().out
    prompt, exported = (out / "samples" / f"{name}.wav" for name in ("voice_prompt", "export_voice"))
    assert len(heard(prompt)) / soundfile.info(prompt).samplerate == pytest.approx(
        library.entry("anna").duration_sec, abs=0.2
    )
    assert text_beside(prompt) == text_beside(library.recording("anna"))
    words = ["--text", TEXT, "--output"]
    assert run(monkeypatch, synthesize, out, *words, tmp_path / "own.wav") == 0
    assert run(monkeypatch, synthesize, out, "--voice", exported, *words, tmp_path / "as exported.wav") == 0
    assert np.array_equal(heard(tmp_path / "own.wav"), heard(tmp_path / "as exported.wav"))
    assert run(monkeypatch, export, out, "--output-dir", tmp_path / "again") == 0
    one, two = (folder / "voice.safetensors" for folder in (out / "export", tmp_path / "again"))
    assert one.read_bytes() == two.read_bytes()


FAULTS: dict[str, tuple[list[object], str]] = {
    "unknown": (["play", "nobody", "--model", NANO, "--text", "Hi.", "--output", "x.wav"], "which has anna"),
    "taken": (["add", "anna", CLIPS[0]], "has a voice anna already"),
    "unsafe name": (["add", "../anna", CLIPS[0]], "cannot name a voice"),
    "no file": (["add", "ben", "nowhere.wav"], "There is no recording nowhere.wav"),
    "a folder": (["add", "ben", DEMO_TRAIN], "There is no recording"),
    "nothing usable": (["add", "ben", CLIPS[0].with_suffix(".txt")], "None of the recordings can be used"),
    "damaged ready file": (["add", "ben", "damaged.safetensors"], "is not a saved voice"),
    "ready file of another system": (["add", "ben", "conds.pt", "--model", NANO], "conds.pt"),
    "unknown model": (["add", "ben", CLIPS[0], "--model", "nope"], "nope"),
    "removed before": (["remove", "ben"], "There is no voice 'ben' in the library, which has anna"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_one_sentence_and_leaves_the_library_as_it_was(
    what: str,
    library: VoiceLibrary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.safetensors").write_bytes(b"\0" * 20)
    soundfile.write(tmp_path / "x", np.zeros(10), 8000, format="WAV")
    (tmp_path / "conds.pt").write_bytes((tmp_path / "x").read_bytes())
    assert run(monkeypatch, voices, "add", "anna", CLIPS[0]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    arguments, sentence = FAULTS[what]
    assert run(monkeypatch, voices, *arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_library_that_cannot_be_written_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALM_FT_VOICES", "/proc/voices")  # where nobody, not even root, can make a folder
    assert run(monkeypatch, voices, "add", "anna", CLIPS[0]) == 2
    assert "error: The voice anna cannot be written to" in capsys.readouterr().err
