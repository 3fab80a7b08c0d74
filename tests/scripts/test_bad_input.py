"""Hopeless input: exit code 2, one sentence, no traceback, no folder. Partial input: the good clips train."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.bad_audio import KINDS
from tests.training.tiny_run import NUM_CLIPS, run_train

ROOT = Path(__file__).parents[2]

# What is wrong -> overrides and a part of the sentence. {good} is a folder of good clips, {here} a new, empty one.
HOPELESS: dict[str, tuple[list[str], str]] = {
    "missing folder": (["data.path={here}/nowhere"], "There is no folder"),
    "empty folder": (["data.path={here}"], "is empty"),
    "folder without audio": (["data.path={here}/texts"], "no audio"),
    "no folder named": (["data.path=null"], "data.path"),
    "unknown released model": (["adapter.model=nope"], "nope"),
    "unknown adapter": (["adapter=nope"], "choose one of: nano, pocket_tts"),
    "unknown experiment": (["experiment=nope"], "choose one of: demo, full, head_only, last_n_layers, scratch"),
    "unknown objective": (["objective=nope"], "there is no objective=nope"),
    "unknown strategy": (["strategy=nope"], "full, head_only"),
    "unknown setting": (["optimizer.rate=1"], "optimizer has: _target_, beta1"),
    "unknown top setting": (["rate=1"], "there is no setting rate"),
    "unknown added setting": (["+data.rate=1"], "rate"),
    "unreadable override": (["seed"], "write key=value"),
    "reference to nothing": (["seed=${nothing}"], "nothing"),
    "negative rate": (["optimizer.lr=-1e-4"], "optimizer.lr=-0.0001"),
    "rate of zero": (["optimizer.lr=0"], "optimizer.lr=0"),
    "rate in words": (["optimizer.lr=fast"], "optimizer.lr=fast"),
    "ema_decay of one": (["ema_decay=1"], "ema_decay=1"),
    "negative ema_decay": (["ema_decay=-0.1"], "ema_decay=-0.1"),
    "validation_fraction of one": (["data.validation_fraction=1"], "data.validation_fraction=1"),
    "no batch": (["data.max_batch_size=0"], "data.max_batch_size=0"),
    "no frames": (["data.max_frames_per_batch=0"], "data.max_frames_per_batch=0"),
    "negative workers": (["data.num_workers=-1"], "data.num_workers=-1"),
    "seed in words": (["seed=lucky"], "seed=lucky"),
    "half a seed": (["seed=0.5"], "seed=0.5"),
    "no checkpoints": (["checkpoint.every_n_steps=0"], "checkpoint.every_n_steps=0"),
    "no steps": (["trainer.max_steps=0"], "trainer.max_steps=0"),
    "steps taken out": (["~trainer.max_steps"], "trainer.max_steps=None"),
    "epochs": (["trainer.max_epochs=3"], "trainer.max_steps"),
    "unknown trainer argument": (["trainer.nope=1"], "nope"),
    "nothing to judge by": (["evaluation.num_sentences=-1"], "evaluation.num_sentences=-1"),
    "missing held-out folder": (["evaluation.heldout_path={here}/nowhere"], "There is no folder"),
    "missing voices": (["evaluation.voices_path={here}/nowhere"], "evaluation.voices_path"),
    "base voice without voices": (["evaluation.base_voice=adam"], "evaluation.voices_path"),
    "output_dir in a file": (["output_dir={good}/000.file/run"], "is a file"),
    "no output_dir": (["output_dir=null"], "output_dir"),
    "one clip": (["data.path={here}/one"], "at least two"),
    **{f"all clips {kind}": ([f"data.path={{here}}/{kind}"], "") for kind in KINDS},
}


@pytest.fixture
def places(tmp_path: Path, recordings_dir: Path) -> dict[str, Path]:
    good, here = tmp_path / "good", tmp_path / "here"
    shutil.copytree(recordings_dir, good)
    (good / "000.file").touch()
    here.mkdir()
    return {"good": good, "here": here}


def fill(here: Path, good: Path, overrides: list[str]) -> None:
    """Makes the folder that an override points at, if it is one to be made."""
    name = next((each.rpartition("/")[2] for each in overrides if each.startswith("data.path={here}/")), "")
    if name in KINDS or name in ("texts", "one"):
        (here / name).mkdir()
    if name in KINDS:
        for clip in ("a.wav", "b.wav"):
            KINDS[name][0](here / name / clip)
    elif name == "texts":
        (here / "texts" / "a.txt").write_text("Some words.")
    elif name == "one":
        audio = next(good.glob("*.ogg"))
        for path in (audio, audio.with_suffix(".txt")):
            shutil.copy(path, here / "one")


@pytest.mark.parametrize("what", HOPELESS)
def test_hopeless_input_is_one_sentence_and_leaves_nothing(
    what: str,
    places: dict[str, Path],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides, said = HOPELESS[what]
    fill(places["here"], places["good"], overrides)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    given = [each.format(**places) if "${" not in each else each for each in overrides]
    usual = [f"data.path={places['good']}", "output_dir=run"]
    taken = {each.partition("=")[0].lstrip("+~") for each in given}
    kept = [each for each in [*tiny, *usual] if each.partition("=")[0] not in taken]
    assert run_train(monkeypatch, *kept, *given) == 2
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in printed.err + printed.out
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("what", ["unknown adapter", pytest.param("missing folder", marks=pytest.mark.slow)])
def test_the_process_ends_with_code_2_and_one_line(what: str, tmp_path: Path) -> None:
    overrides = [each.format(here=tmp_path, good=tmp_path) for each in HOPELESS[what][0]]
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "output_dir=run", "logger=csv", *overrides]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_folder_of_another_run_is_left_alone(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert run_train(monkeypatch, *tiny, f"data.path={recordings_dir}", f"output_dir={tmp_path}") == 2
    assert "holds another run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_every_bad_clip_is_named_with_its_reason_and_the_good_ones_train(
    places: dict[str, Path], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (make, _) in KINDS.items():
        make(places["good"] / f"{name}.wav")
    run = tmp_path / "run"
    assert run_train(monkeypatch, *tiny, f"data.path={places['good']}", f"output_dir={run}") == 0
    rows = [json.loads(line) for line in (run / "excluded.jsonl").read_text().splitlines()]
    reasons = {Path(row["path"]).stem: row["reason"] for row in rows}
    assert reasons.keys() == KINDS.keys()
    for name, (_, reason) in KINDS.items():
        assert reason in reasons[name]
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["num_train_clips"] + facts["num_validation_clips"] == NUM_CLIPS
    assert facts["num_excluded"] == len(KINDS)
