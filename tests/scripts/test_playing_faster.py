"""int8 weights by evaluate.py and synthesize.py, and exports of half the size by train.py and export.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from calm_ft.runs import relocate_export
from scripts import evaluate, export, synthesize
from tests.scripts.evaluation_run import NO_BASE_VOICES, evaluate_run, rows_of, summary_of
from tests.scripts.run_script import run
from tests.training.tiny_run import run_train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reduced_run(tmp_path_factory: pytest.TempPathFactory, recordings_dir: Path, tiny: list[str]) -> Path:
    """The folder of a run of experiment=lora that exports in bfloat16; not to be changed."""
    folder = tmp_path_factory.mktemp("reduced") / "run"
    overrides = ["experiment=lora", f"data.path={recordings_dir}", "export.dtype=bf16", "optimizer.lr=1e-2"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_train(monkeypatch, *tiny, *overrides, f"output_dir={folder}") == 0
    return folder


def audio_of(folder: Path) -> dict[tuple[str, int], bytes]:
    """What each system said, by system and sentence."""
    rows = rows_of(folder)
    return {(row["system"], row["index"]): (folder / row["audio"]).read_bytes() for row in rows}


def names_of_kept(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "spoken").glob("*.wav")}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_run_of_reduced_weights_speaks_with_those_of_its_export_and_in_int8_with_those_of_its_export_in_int8(
    reduced_run: Path, recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(shutil.copytree(reduced_run, tmp_path / "run"))
    relocate_export(place)
    prompt = reduced_run / "samples" / "voice_prompt.wav"
    given = [
        "--num-sentences",
        2,
        "--asr",
        "none",
        "--heldout-path",
        recordings_dir,
        *NO_BASE_VOICES,
        "--voice",
        prompt,
    ]
    kept, said = {}, {}
    for name, model, more in (
        ("run", place, []),
        ("export", place / "export", []),
        ("run in int8", place, ["--quantize"]),
        ("export in int8", place / "export", ["--quantize"]),
    ):
        assert evaluate_run(monkeypatch, model, *given, *more, "--output-dir", tmp_path / name) == 0
        kept[name], said[name] = names_of_kept(tmp_path / name), audio_of(tmp_path / name)
    for kind in ("", " in int8"):
        # Named by the weights that say it. What is said may differ in its last bits, by where in memory these lie.
        assert kept[f"run{kind}"] == kept[f"export{kind}"]
        result = summary_of(tmp_path / f"run{kind}")
        assert ("weights" in result["protocol"]) == bool(kind)
        assert any("int8" in note for note in result["notes"]) == bool(kind)
    assert len(kept["run"] | kept["run in int8"]) == 8  # two sentences by two systems, and nothing in common
    own = [key for key in said["run"] if key[0] in ("base", "tuned")]
    assert all(said["run"][key] != said["run in int8"][key] for key in own)
    # Into the folder of other weights: nothing that they said is taken.
    assert evaluate_run(monkeypatch, place, *given, "--output-dir", tmp_path / "run in int8") == 0
    assert audio_of(tmp_path / "run in int8") == said["run"]
    assert "weights" not in summary_of(tmp_path / "run in int8")["protocol"]


def test_a_run_exports_in_the_type_that_it_was_told_and_export_py_in_any(
    reduced_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = weights(reduced_run / "export")
    assert own["flow_lm.transformer.layers.0.linear1.weight"].dtype == torch.bfloat16
    for name, given in (("again", []), ("whole", ["--dtype", "fp32"]), ("fp16", ["--dtype", "fp16"])):
        assert run(monkeypatch, export, reduced_run, "--output-dir", tmp_path / name, *given) == 0
    again, whole, half = (weights(tmp_path / name) for name in ("again", "whole", "fp16"))
    assert all(torch.equal(again[name], own[name]) for name in own)
    assert all(torch.equal(whole[name].to(half[name].dtype), half[name]) for name in own)
    assert all(torch.equal(whole[name].to(own[name].dtype), own[name]) for name in own)
    sizes = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("again", "fp16", "whole")}
    assert sizes["again"] < 0.51 * sizes["whole"] > sizes["fp16"]


def test_a_text_is_spoken_with_int8_weights(reduced_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [tmp_path / name for name in ("own.wav", "int8.wav", "again.wav")]
    for output, more in zip(outputs, ([], ["--quantize"], ["--quantize"]), strict=True):
        given = ["--text", "Hello there.", "--output", output, *more]
        assert run(monkeypatch, synthesize, reduced_run, *given) == 0
    own, in_int8, again = (soundfile.read(path)[0] for path in outputs)
    assert np.array_equal(in_int8, again)
    assert not np.array_equal(own, in_int8)


def test_what_a_system_cannot_do_is_one_sentence_and_writes_nothing(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outside = ["adapter._target_=tests.outside_system.adapter.SpectrumAdapter", "adapter.package=tests.outside_system"]
    train = ["experiment=full", *outside, *tiny, f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}"]
    assert run_train(monkeypatch, *train, "export.dtype=bf16") == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: spectrum_tts writes its exports in float32 alone: leave the dtype bf16 out, or take fp32."]
    assert not list(tmp_path.iterdir())
    assert run_train(monkeypatch, *train) == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for script, arguments, sentence in (
        (evaluate, [tmp_path / "run", "--quantize", "--heldout-path", recordings_dir], "with int8 weights"),
        (synthesize, [tmp_path / "run", "--quantize", "--text", "Hi.", "--output", tmp_path / "o.wav"], "int8 weights"),
        (export, [tmp_path / "run", "--dtype", "fp16"], "leave the dtype fp16 out"),
    ):
        assert run(monkeypatch, script, *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert sentence in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
