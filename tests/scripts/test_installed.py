"""The wheel, used outside the checkout; and how commands name themselves."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from calm_ft.commands import COMMANDS, command_line, words_of
from tests.training.tiny_run import copy_short_clips

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        (["python", "scripts/train.py", "-m", "seed=0,1"], ["python", "scripts/export.py"]),
        ([".venv/bin/python", "-u", "/a b/scripts/train.py"], ["python", "/a b/scripts/export.py"]),
        (["python", "-m", "calm_ft.train", "-m"], ["python", "-m", "calm_ft.export"]),
        (["python", "-m", "calm_ft", "train"], ["python", "-m", "calm_ft", "export"]),
        (["/venv/bin/python", "/venv/bin/calm-ft", "train"], ["calm-ft", "export"]),
        (["python", "-m", "joblib.worker", "train.py"], ["python", "-m", "calm_ft.export"]),
        (["python", "-c", "..."], ["python", "-m", "calm_ft.export"]),
    ],
)
def test_commands_are_named_in_the_form_in_which_the_user_started(
    started: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", started)
    assert words_of("export") == expected


def test_a_printed_line_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's [a] run & $HOME"
    echoed = subprocess.run(f"printf '%s\n' {command_line('export', [folder])}", shell=True, capture_output=True)
    assert echoed.stdout.decode().splitlines()[-1] == str(folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_torch(command: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    ended = _python(tmp_path, "-m", "calm_ft", command, "--help", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "usage: " in ended.stdout or "Hydra" in ended.stdout


def test_an_unknown_command_is_one_sentence(tmp_path: Path) -> None:
    ended = _python(tmp_path, "-m", "calm_ft", "tune", PYTHONPATH=str(ROOT))
    assert ended.returncode == 2
    known = "prepare, train, evaluate, compare, export, synthesize, voices"
    assert ended.stderr == f"error: There is no command tune: choose one of {known}.\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout, in which no earlier build is left over."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "papers/")):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "built")]
    subprocess.run([*pip, str(folder / "source")], check=True)
    return next((folder / "built").glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to which the wheel is installed, as the only calm_ft on the path."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)  # pip fetches setuptools and builds the wheel
def test_the_wheel_holds_the_package_and_its_configuration_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "calm_ft", "conf"], cwd=ROOT, capture_output=True, text=True).stdout
    expected = {name if name.startswith("calm_ft/") else f"calm_ft/{name}" for name in listed.splitlines()}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {name for name in expected if not name.endswith(".gitignore")}


@pytest.mark.slow
@pytest.mark.timeout(1200)  # pip fetches setuptools and builds the wheel
def test_the_wheel_trains_exports_and_speaks_outside_the_checkout(site: Path, tmp_path: Path) -> None:
    copy_short_clips(tmp_path / "my voice")
    script, program = site / "bin" / "calm-ft", ["-m", "calm_ft"]
    settings = ["data.path=my voice", f"data.cache_dir={tmp_path / 'cache'}", "output_dir=run", "logger=csv"]
    tiny = ["trainer.max_steps=2", "trainer.accelerator=cpu", "evaluation.num_sentences=0", "data.max_batch_size=2"]
    played = ["--text", "Hello there.", "--output", "hello.wav"]
    speak = "from calm_ft.runs import adapter_for; print(adapter_for('moved').sample_rate_hz)"
    for words in (
        [str(script), "train", *settings, *tiny],
        [*program, "export", "run", "--output-dir", "moved"],
        [*program, "export", "moved", "--relocate"],
        ["-m", "calm_ft.synthesize", "moved", *played],
        ["-c", speak],
    ):
        ended = _python(tmp_path, *words, PYTHONPATH=str(site))
        assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "hello.wav").stat().st_size > 10_000
    loaded = _python(tmp_path, "-c", "import calm_ft; print(calm_ft.__file__)", PYTHONPATH=str(site))
    assert loaded.stdout.strip() == str(site / "calm_ft" / "__init__.py")


def _python(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The interpreter of the tests in another folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
