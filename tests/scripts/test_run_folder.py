"""One run from end to end: its folder, its export in the stock package, and what the other scripts make of it."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import soundfile
import torch
import yaml
from pocket_tts import TTSModel

from calm_ft.config import compose_config, experiment_from
from calm_ft.config.overrides import tidy_arguments
from calm_ft.metrics.audio_io import is_silent
from calm_ft.training.resume import read_checkpoint, trained_weights
from calm_ft.training.run import run_training
from scripts import export, synthesize
from tests.conftest import NANO
from tests.scripts.run_script import run
from tests.training.tiny_run import assert_same

TEXT = 'Well, "hello" there! It\'s a test, is it not?'


def facts(run_dir: Path) -> dict:
    return json.loads((run_dir / "run.json").read_text())


def test_a_run_folder_holds_what_it_promises(finished_run: Path) -> None:
    names = {str(path.relative_to(finished_run)) for path in finished_run.rglob("*") if path.is_file()}
    evaluation = {name for name in names if name.startswith("evaluation/")}
    assert {f"evaluation/{name}" for name in ("summary.json", "utterances.jsonl", "scores.json")} <= evaluation
    names -= evaluation
    systems = {f"samples/{system}_00.wav" for system in ("reference", "base", "tuned")}
    exported = {"config.yaml", "model.safetensors", "tokenizer.model", "voice.safetensors", "README.md"}
    assert names == {
        "config.yaml",
        "run.json",
        "metrics.csv",
        "excluded.jsonl",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/step-00000002.ckpt",
        "samples/voice_prompt.txt",
        "samples/voice_prompt.wav",
        "samples/spectrograms.png",
        "samples/step-000000.png",
        "samples/sentences.jsonl",
        *systems,
        *(f"export/{name}" for name in exported),
    }
    assert (finished_run / "excluded.jsonl").read_text() == ""


def test_run_json_says_what_made_the_figures(finished_run: Path) -> None:
    said = facts(finished_run)
    assert said["status"] == "finished"
    assert said["started"] <= said["finished"]
    assert said["wall_sec"] >= said["training_sec"] > 0
    assert said["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert {"pocket-tts", "lightning"} <= said["packages"].keys()
    assert said["seed"] == 0
    assert all(said[name] for name in ("code", "feature_fingerprint", "data_fingerprint", "model"))
    assert said["residuals"]["base"].keys() == said["residuals"]["tuned"].keys() >= {"residual"}
    assert said["residuals"]["base_voices"]["tuned"]["residual"] > 0
    assert said["evaluation"] == json.loads((finished_run / "evaluation" / "summary.json").read_text())
    assert said["evaluation"]["systems"].keys() == {"reference", "codec", "base", "tuned"}


def test_metrics_csv_has_training_and_validation(finished_run: Path) -> None:
    rows = list(csv.DictReader((finished_run / "metrics.csv").open()))
    assert {"train/loss", "train/lr", "train/x_real_time", "val/residual"} <= rows[0].keys()
    base = facts(finished_run)["residuals"]["base"]["residual"]
    assert float(rows[0]["val/residual"]) == pytest.approx(base, rel=1e-6)


def test_the_stock_package_loads_the_export_and_speaks_from_its_voice(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = TTSModel.load_model(config=finished_run / "export" / "config.yaml")
    voice = model.get_state_for_audio_prompt(finished_run / "export" / "voice.safetensors")
    audio = model.generate_audio(voice, "Hello there.")
    assert not is_silent(audio, model.sample_rate)


def test_in_the_export_frozen_tensors_are_the_base_and_trained_ones_the_average(finished_run: Path) -> None:
    base = safetensors.torch.load_file(NANO / "model.safetensors")
    exported = safetensors.torch.load_file(finished_run / "export" / "model.safetensors")
    trained = trained_weights(read_checkpoint(finished_run / "checkpoints" / "best.ckpt"))
    assert exported.keys() == base.keys()
    assert_same({name: exported[name] for name in trained}, trained)
    frozen = base.keys() - trained.keys()
    assert_same({name: exported[name] for name in frozen}, {name: base[name] for name in frozen})
    assert not torch.equal(exported["flow_lm.out_eos.weight"], base["flow_lm.out_eos.weight"])


def test_synthesize_speaks_punctuated_text_from_a_run(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "said.wav"
    assert run(monkeypatch, synthesize, finished_run, "--text", TEXT, "--output", output) == 0
    audio, rate = soundfile.read(output)
    assert not is_silent(audio, rate)
    assert 0.5 < audio.size / rate < 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--text", "Hi.", "--output", "x.wav"], "nowhere"),
        (["{run}", "--text", "", "--output", "x.wav"], "text"),
        (["{run}", "--text", "Hi.", "--voice", "nobody", "--output", "x.wav"], "nobody"),
        (["{run}", "--text", "Hi.", "--temperature", "-1", "--output", "x.wav"], "--temperature"),
        (["{run}", "--text", "Hi.", "--num-steps", "0", "--output", "x.wav"], "--num-steps"),
    ],
)
def test_what_synthesize_cannot_do_is_one_sentence(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, synthesize, *(each.format(run=finished_run) for each in arguments)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert said in printed
    assert not list(tmp_path.iterdir())


def test_export_writes_the_last_checkpoint_too(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, export, finished_run, "--which", "last", "--output-dir", tmp_path / "last") == 0
    exported = safetensors.torch.load_file(tmp_path / "last" / "model.safetensors")
    last = trained_weights(read_checkpoint(finished_run / "checkpoints" / "last.ckpt"))
    assert_same({name: exported[name] for name in last}, last)


def test_a_moved_run_plays_after_relocate(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished_run, moved)
    assert run(monkeypatch, export, moved, "--relocate") == 0
    config = yaml.safe_load((moved / "export" / "config.yaml").read_text())
    assert config["weights_path"] == str(moved / "export" / "model.safetensors")
    assert str(finished_run) not in (moved / "export" / "config.yaml").read_text()
    TTSModel.load_model(config=moved / "export" / "config.yaml")


@pytest.mark.parametrize("damage", ["gone", "cut", "foreign"])
def test_a_damaged_checkpoint_is_one_sentence(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished_run, moved)
    path = moved / "checkpoints" / "last.ckpt"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        torch.save({"weights": torch.zeros(2)}, path)
    assert run(monkeypatch, export, moved, "--which", "last") == 2
    assert capsys.readouterr().err.count("error: ") == 1


@pytest.mark.slow
def test_more_judging_changes_no_weight_and_the_residual_is_returned(
    finished_run: Path, tmp_path: Path, recordings_dir: Path, tiny: list[str]
) -> None:
    other = tmp_path / "other"
    overrides = [*tiny, "evaluation.num_seeds=2", f"data.path={recordings_dir}", f"output_dir={other}"]
    residual = run_training(experiment_from(compose_config(tidy_arguments(overrides))), [], [])
    assert residual == facts(other)["residuals"]["tuned"]["residual"]
    first, second = (read_checkpoint(each / "checkpoints" / "last.ckpt") for each in (finished_run, other))
    assert_same(trained_weights(first), trained_weights(second))
    same = ("data_fingerprint", "feature_fingerprint")
    assert [facts(finished_run)[name] for name in same] == [facts(other)[name] for name in same]


def test_words_that_the_model_hardly_met_are_named_before_they_are_spoken(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "said.wav"
    assert run(monkeypatch, synthesize, finished_run, "--text", "The rhythm of 42 dogs.", "--output", output) == 0
    said = "WARNING: the model hardly met these words and may stumble over them: rhythm.\n"
    assert said in capsys.readouterr().err
    assert output.is_file()
