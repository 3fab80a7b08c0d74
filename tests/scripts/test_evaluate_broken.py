"""Runs, exports and recordings that are broken: one sentence and nothing written, or what is good is evaluated."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.runs import relocate_export
from tests.scripts.bad_input.preparations import cut_in_half
from tests.scripts.evaluation_run import NO_BASE_VOICES, evaluate_run, summary_of


def status(value: str) -> Callable[[Path], None]:
    def prepare(run: Path) -> None:
        record = run / "run.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"status": value}))

    return prepare


def cut(name: str) -> Callable[[Path], None]:
    return lambda run: cut_in_half(run / name)


def without(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def of_another_model(run: Path) -> None:
    """The checkpoint holds a tensor that the model has not, as when the base was replaced."""
    checkpoint = run / "checkpoints" / "best.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["flow_lm.unknown"] = torch.zeros(1)
    checkpoint.unlink()
    torch.save(content, checkpoint)


BROKEN = {
    "run.json cut short": ("{run}", cut("run.json"), "run.json is damaged"),
    "config.yaml cut short": ("{run}", cut("config.yaml"), "config.yaml is damaged"),
    "a checkpoint cut short": ("{run}", cut("checkpoints/best.ckpt"), "best.ckpt is damaged"),
    "a checkpoint of another model": ("{run}", of_another_model, "does not fit the model"),
    "no checkpoints": ("{run}", lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint"),
    "no voice prompt": ("{run}", without("samples/voice_prompt.wav"), "voice_prompt.wav is missing"),
    "still running": ("{run}", status("running"), "is still running, or was killed"),
    "failed": ("{run}", status("failed"), "failed (run.json says why)"),
    "an export without weights": ("{run}/export", without("export/model.safetensors"), "holds no export"),
    "an export with half its weights": ("{run}/export", cut("export/model.safetensors"), "damaged"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_run_is_one_sentence_and_nothing_is_written(
    what: str,
    finished_run: Path,
    recordings_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, prepare, said = BROKEN[what]
    run = shutil.copytree(finished_run, tmp_path / "run")
    relocate_export(run)
    prepare(run)
    before = sorted(tmp_path.rglob("*"))
    given = [model.format(run=run), "--heldout-path", recordings_dir, "--num-sentences", 1, "--asr", "none"]
    assert evaluate_run(monkeypatch, *given, *NO_BASE_VOICES) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_good_clips_of_a_partly_broken_folder_are_evaluated_and_the_broken_named(
    finished_run: Path,
    recordings_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heldout = tmp_path / "heldout"
    heldout.mkdir()
    good = sorted(recordings_dir.glob("*.ogg"))[0]
    samples, rate_hz = soundfile.read(good)
    stereo = np.stack([samples[::2]] * 2, axis=1)
    soundfile.write(heldout / "good.wav", stereo, rate_hz // 2)  # at another rate, with two channels
    (heldout / "good.txt").write_text(good.with_suffix(".txt").read_text())
    (heldout / "torn.ogg").write_bytes(good.read_bytes()[:200])
    soundfile.write(heldout / "silent.wav", np.zeros(24_000), 24_000)
    soundfile.write(heldout / "nothing.wav", np.zeros(0), 24_000)
    soundfile.write(heldout / "unsayable.wav", samples, rate_hz)
    soundfile.write(heldout / "untold.wav", samples, rate_hz)
    for name, text in (("torn", "Torn."), ("silent", "Silent."), ("nothing", "None."), ("unsayable", "\u200b")):
        (heldout / f"{name}.txt").write_text(text)
    (heldout / "untold.txt").write_text("")
    folder = tmp_path / "evaluation"
    given = [finished_run, "--heldout-path", heldout, "--asr", "none", *NO_BASE_VOICES, "--output-dir", folder]
    assert evaluate_run(monkeypatch, *given) == 0
    summary, said = summary_of(folder), capsys.readouterr().out.replace("\n", "")
    assert summary["protocol"]["num_sentences"] == 1
    reasons = {Path(each["path"]).stem: each["reason"] for each in summary["excluded"]}
    assert reasons.keys() == {"torn", "silent", "nothing", "unsayable", "untold"}
    assert "cannot be read" in reasons["torn"]
    assert "no samples" in reasons["nothing"]
    for name in reasons:
        assert name in said
    reference = summary["systems"]["reference"]["metrics"]["mcd_db"]
    assert (reference["mean"], reference["n"], reference["low"]) == (0.0, 1, None)  # one sentence has no interval
    assert "n/a" in said


def test_a_folder_with_nothing_but_broken_clips_is_refused_with_the_commonest_reason(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heldout = tmp_path / "heldout"
    heldout.mkdir()
    soundfile.write(heldout / "a.wav", np.zeros(24_000), 24_000)
    (heldout / "a.txt").write_text("Silent.")
    assert evaluate_run(monkeypatch, finished_run, "--heldout-path", heldout, "--output-dir", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no recording with a text that can be evaluated on (the audio is silent)" in line
    assert not (tmp_path / "out").exists()
