"""Several runs in one call of scripts/evaluate.py."""

import shutil
from pathlib import Path

import pytest

from tests.scripts.evaluation_run import NO_BASE_VOICES, evaluate_run, rows_of
from tests.scripts.test_evaluate_again import Counts, counts, unevaluated  # noqa: F401

CHOSEN = ["--num-sentences", 2, "--asr", "none", *NO_BASE_VOICES]


@pytest.mark.slow
def test_what_runs_have_in_common_is_said_once_and_a_broken_run_stops_no_other(
    unevaluated: Path,  # noqa: F811
    recordings_dir: Path,
    tmp_path: Path,
    counts: Counts,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second, broken = tmp_path / "first", tmp_path / "second", tmp_path / "broken"
    for copy in (first, second, broken):
        shutil.copytree(unevaluated, copy)
    (broken / "run.json").write_text("{")
    given = ["--heldout-path", recordings_dir, *CHOSEN]
    assert evaluate_run(monkeypatch, first, *given) == 0
    alone, measured_alone = len(counts.said), counts.num_measured
    shutil.rmtree(first / "evaluation")
    counts.reset()
    capsys.readouterr()
    assert evaluate_run(monkeypatch, first, broken, second, *given) == 2
    assert (len(counts.said), counts.num_measured) == (alone, measured_alone)  # the second is the first's twin
    assert rows_of(first / "evaluation") == rows_of(second / "evaluation")
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("error:")]) == 1
    assert str(broken) in lines[-1]


def test_a_folder_for_the_files_is_one_runs(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_run(monkeypatch, finished_run, finished_run, *CHOSEN, "--output-dir", tmp_path / "out") == 2
    assert "--output-dir" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
