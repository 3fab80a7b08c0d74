"""compare.py: what it prints, and what it says of and leaves behind after input that cannot be used."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import compare
from tests.report.page.made_runs import add_evaluation, make_run
from tests.scripts.run_script import run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [add_evaluation(make_run(tmp_path / name, 2, number), number=number) for number, name in enumerate("ab")]


def test_a_page_is_written_and_its_size_printed(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, compare, *runs) == 0
    size_mb = (tmp_path / "comparison.html").stat().st_size / 1e6
    assert capsys.readouterr().out == f"wrote comparison.html: {size_mb:.2f} MB\n"


def test_a_run_as_training_leaves_it_can_be_shown(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, compare, finished_run, "--output", tmp_path / "page.html") == 0
    assert "not evaluated" not in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().count("<audio") >= 4  # recording, codec, base and tuned


def test_a_run_is_compared_with_another_that_need_not_be_named_twice(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    assert run(monkeypatch, compare, runs[1], "--against", runs[0], "--output", page) == 0
    text = page.read_text()
    assert "2 runs compared" in text
    assert "from A: " in text
    assert "from the base: " not in text


def test_pages_need_no_model() -> None:
    models = ("pocket_tts", "lightning", "calm_ft.adapters", "calm_ft.training", "calm_ft.config")
    program = f"import sys, scripts.compare; print([each for each in {models} if each in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"


@pytest.mark.slow
def test_what_was_not_evaluated_is_evaluated_on_demand_and_once(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(finished_run, copied)
    page = tmp_path / "page.html"
    assert run(monkeypatch, compare, copied, "--evaluate", "--output", page) == 0
    assert "was not evaluated" not in capsys.readouterr().out
    before = (copied / "evaluation" / "summary.json").stat().st_mtime_ns
    assert run(monkeypatch, compare, copied, "--evaluate", "--output", page) == 0
    assert (copied / "evaluation" / "summary.json").stat().st_mtime_ns == before


FAULTS = {
    "no run": (["{here}"], "is not a run's folder"),
    "nothing there": (["{here}/nowhere"], "is not a run's folder"),
    "a run given twice": (["{a}", "{b}", "{a}"], "is given twice"),
    "fewer than no sentences": (["{a}", "--sentences", "-1"], "cannot be negative"),
    "against what is no run": (["{a}", "--against", "{here}"], "is not a run's folder"),
    "a sweep that is a run": (["--sweep", "{a}"], "is not a sweep's folder"),
    "nothing at all": ([], "nothing to compare"),
    "onto a read-only disk": (["{a}", "--output", "/proc/page.html"], "cannot be written"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_one_sentence_and_leaves_nothing(
    what: str,
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, said = FAULTS[what]
    before = sorted(tmp_path.rglob("*"))
    assert run(monkeypatch, compare, *(each.format(here=tmp_path, a=runs[0], b=runs[1]) for each in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_run_leaves_an_older_page_as_it_was(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("older")
    (runs[1] / "evaluation" / "summary.json").write_text("{")
    assert run(monkeypatch, compare, *runs, "--output", page) == 2
    assert page.read_text() == "older"
