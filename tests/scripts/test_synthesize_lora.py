"""A LoRA file speaks by itself: upon its base it is the export of the run that made it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts import synthesize
from tests.conftest import NANO
from tests.scripts.run_script import run


def test_a_lora_file_upon_its_base_speaks_as_the_export_does(
    lora_run: Path, recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = next(recordings_dir.glob("*.ogg"))
    common = ["--text", "Hello there.", "--voice", voice, "--seed", 3, "--output"]
    files = [tmp_path / name for name in ("export.wav", "lora.wav", "base.wav")]
    assert run(monkeypatch, synthesize, lora_run, *common, files[0]) == 0
    assert run(monkeypatch, synthesize, NANO, "--lora", lora_run / "lora.safetensors", *common, files[1]) == 0
    assert run(monkeypatch, synthesize, NANO, *common, files[2]) == 0
    exported, folded, base = (soundfile.read(path)[0] for path in files)
    assert np.array_equal(exported, folded)
    assert not np.array_equal(exported, base)


def test_a_voice_that_the_base_made_is_refused_with_a_lora_file(
    lora_run: Path,
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    voice = finished_run / "export" / "voice.safetensors"
    arguments = ["--lora", lora_run / "lora.safetensors", "--text", "Hello.", "--output", tmp_path / "out.wav"]
    assert run(monkeypatch, synthesize, NANO, *arguments, "--voice", voice) == 2
    assert "pass --voice with a recording" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_lora_file_upon_another_base_is_refused_and_nothing_is_written(
    lora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, output = lora_run / "lora.safetensors", tmp_path / "out.wav"
    assert run(monkeypatch, synthesize, lora_run, "--lora", lora, "--text", "Hello.", "--output", output) == 2
    assert "made for another base model" in capsys.readouterr().err
    assert not output.exists()
