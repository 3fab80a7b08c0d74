"""A system from outside the project goes all the way by the commands: train, export, synthesize, evaluate, compare."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import soundfile
import torch

from calm_ft.runs import adapter_for
from scripts import compare, evaluate, export, synthesize
from tests.outside_system.adapter import SpectrumAdapter
from tests.scripts.run_script import run
from tests.training.tiny_run import run_train

ROOT = Path(__file__).parents[2]
TARGET = "adapter._target_=tests.outside_system.adapter.SpectrumAdapter"
OUTSIDE = [TARGET, "adapter.package=tests.outside_system", "+adapter.width=8"]
FILES = ["spectrum_tts.json", "spectrum_tts.safetensors", "voice.safetensors"]


@pytest.fixture(scope="module")
def outside_run(tmp_path_factory: pytest.TempPathFactory, recordings_dir: Path, tiny: list[str]) -> Path:
    """The folder of a finished run of strategy=last_n_layers; not to be changed."""
    folder = tmp_path_factory.mktemp("outside") / "run"
    strategy = ["experiment=last_n_layers", "strategy.num_layers=1", "optimizer.lr=1e-2"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        overrides = [*OUTSIDE, *strategy, f"data.path={recordings_dir}", f"output_dir={folder}"]
        assert run_train(monkeypatch, *tiny, *overrides) == 0
    return folder


def test_a_run_trains_what_the_strategy_names_and_exports_it(outside_run: Path) -> None:
    assert sorted(path.name for path in (outside_run / "export").iterdir()) == FILES
    facts = json.loads((outside_run / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["model"].startswith("spectrum_tts (")
    assert facts["packages"]["soundfile"] == soundfile.__version__
    base = SpectrumAdapter(width=8).tts.state_dict()
    tuned = safetensors.torch.load_file(outside_run / "export" / "spectrum_tts.safetensors")
    moved = {name for name, tensor in tuned.items() if not torch.equal(tensor, base[name])}
    assert {name.partition(".")[0] for name in moved} == {"layers", "output_norm", "frame_head", "stop_head"}
    assert all(name.startswith("layers.1.") for name in moved if name.startswith("layers."))


def test_an_export_is_written_again_moved_and_speaks_in_its_own_voice(
    outside_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, out = tmp_path / "again", tmp_path / "hello.wav"
    assert run(monkeypatch, export, outside_run, "--output-dir", again) == 0
    assert all((again / name).read_bytes() == (outside_run / "export" / name).read_bytes() for name in FILES)
    assert run(monkeypatch, export, again, "--relocate") == 0
    assert isinstance(adapter_for(str(again)), SpectrumAdapter)
    assert run(monkeypatch, synthesize, outside_run, "--text", "Hello there.", "--output", out) == 0
    samples, rate = soundfile.read(out)
    assert (rate, len(samples) > 800) == (8_000, True)


@pytest.mark.slow
def test_another_process_speaks_a_run_by_its_package_and_an_export_by_an_entry_point(
    outside_run: Path, tmp_path: Path
) -> None:
    info = tmp_path / "path" / "outside-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[calm_ft.systems]\nspectrum = tests.outside_system.system:SpectrumSystem\n")
    moved = Path(shutil.copytree(outside_run / "export", tmp_path / "moved export"))

    def exit_code(model: Path, *path: Path) -> int:
        command = [sys.executable, "scripts/synthesize.py", model, "--text", "Hello.", "--output", tmp_path / "out.wav"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *path]))}
        return subprocess.run(
            [*map(str, command)], cwd=ROOT, env=environment, capture_output=True, check=False
        ).returncode

    assert exit_code(outside_run) == 0
    assert exit_code(moved, info.parent) == 0
    assert exit_code(moved) == 2


def test_a_run_is_evaluated_and_compared(outside_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(outside_run, tmp_path / "run"))
    chosen = ["--num-sentences", 1, "--asr", "none", "--base-sentences", 0]
    monkeypatch.setattr("calm_ft.metrics.hub._hub_answers", lambda: False)
    assert run(monkeypatch, evaluate, folder, *chosen) == 0
    assert (folder / "evaluation" / "summary.json").is_file()
    page = tmp_path / "page.html"
    assert run(monkeypatch, compare, folder, "--output", page) == 0
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([TARGET, "adapter.package=no_such_module"], "adapter.package=no_such_module cannot be imported"),
        (["adapter._target_=nobody.Adapter"], "belongs to no known TTS system"),
        ([*OUTSIDE, "experiment=last_n_layers", "strategy.num_layers=3"], "the decoder of this model has 2 layers"),
    ],
)
def test_what_an_outside_system_lacks_is_one_sentence_and_no_folder(
    overrides: list[str],
    said: str,
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = [f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}"]
    assert run_train(monkeypatch, *tiny, *overrides, *common) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
