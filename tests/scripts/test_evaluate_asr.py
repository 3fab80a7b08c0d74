"""Which recogniser judges: the embedded one for the embedded model, and for no other unless it is forced."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.scripts.evaluation_run import NO_BASE_VOICES, evaluate_run, summary_of
from tests.training.tiny_run import run_train


@pytest.fixture(scope="module")
def chatterbox_run(tmp_path_factory: pytest.TempPathFactory, recordings_dir: Path, tiny: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("chatterbox") / "run"
    system = ["experiment=chatterbox_t3", "adapter=chatterbox_tiny", "adapter.max_speech_tokens=60"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_train(monkeypatch, *system, *tiny, f"data.path={recordings_dir}", f"output_dir={folder}") == 0
    return folder


@pytest.mark.slow
def test_true_recordings_of_the_demo_voice_are_understood_and_the_models_speech_less(
    finished_run: Path, recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--heldout-path", recordings_dir, "--output-dir", tmp_path / "evaluation", *NO_BASE_VOICES]
    assert evaluate_run(monkeypatch, finished_run, *arguments) == 0
    summary = summary_of(tmp_path / "evaluation")
    cer = {system: figures["metrics"]["cer"]["mean"] for system, figures in summary["systems"].items()}
    assert cer["reference"] < 0.1
    assert cer["reference"] <= cer["codec"] < cer["base"]
    assert summary["protocol"]["asr"] == "nano_asr"


def test_an_english_recogniser_is_refused_for_a_run_whose_model_speaks_another_language(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    german = shutil.copytree(finished_run, tmp_path / "run")
    config = yaml.safe_load((german / "config.yaml").read_text())
    config["adapter"]["language"] = "de"
    (german / "config.yaml").write_text(yaml.safe_dump(config))
    assert evaluate_run(monkeypatch, german, "--asr", "openai/whisper-base.en") == 2
    assert "knows English alone, and the model speaks 'de'" in capsys.readouterr().err


@pytest.mark.slow
def test_another_model_is_refused_by_name_and_judged_when_it_is_forced(
    chatterbox_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--asr", "embedded", "--num-sentences", 1, "--output-dir", tmp_path / "evaluation", *NO_BASE_VOICES]
    assert evaluate_run(monkeypatch, chatterbox_run, *arguments) == 2
    assert "knows the embedded model's synthetic speech alone" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert evaluate_run(monkeypatch, chatterbox_run, *arguments, "--force-asr") == 0
    summary = summary_of(tmp_path / "evaluation")
    assert "wer" in summary["systems"]["tuned"]["metrics"]
    assert "chatterbox has no codec" in summary["missing"]["codec"]
