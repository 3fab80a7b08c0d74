"""Two runs by one command: a teacher that is tuned, and a student that learns from its export."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calm_ft.config import compose_config
from calm_ft.config.overrides import tidy_arguments
from tests.scripts.conftest import run_train

BOTH = ["experiment=teacher_then_student", "adapter.num_layers=6"]
TEACHER = [
    "teacher.adapter.conditioning_dropout=0.2",
    "teacher.trainer.max_steps=2",
    "teacher.evaluation.num_sentences=0",
]


@pytest.mark.slow
def test_the_student_learns_from_the_tuned_teacher_which_is_not_tuned_twice(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "both"
    run_train(monkeypatch, *tiny, *BOTH, *TEACHER, "evaluation.num_sentences=0", f"output_dir={folder}")
    teacher = tmp_path / "both-teacher" / "export"
    assert "null_branch: true" in (teacher / "README.md").read_text(encoding="utf-8")
    assert f"model: {teacher / 'config.yaml'}" in (folder / "config.yaml").read_text(encoding="utf-8")
    assert "null_branch: false" in (folder / "export" / "README.md").read_text(encoding="utf-8")
    assert "training:" in "".join(capfd.readouterr())
    run_train(monkeypatch, *tiny, *BOTH, *TEACHER, "evaluation.num_sentences=0", f"output_dir={folder}", "resume=true")
    assert "training:" not in "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_stop_that_reaches_the_first_process_alone_ends_both_and_resume_goes_on(
    tiny: list[str], tmp_path: Path
) -> None:
    folder, teacher = tmp_path / "both", tmp_path / "both-teacher"
    endless = ["teacher.trainer.max_steps=100000", "teacher.trainer.val_check_interval=null"]
    words = [*tiny, *BOTH, *TEACHER, *endless, f"output_dir={folder}"]
    run = subprocess.Popen(
        [sys.executable, "-m", "calm_ft.train", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith("training:"):
            break
    run.send_signal(signal.SIGTERM)
    rest = run.stdout.read()  # ends when both processes have
    assert run.wait() == 0
    assert "the student was not begun" in rest
    assert json.loads((teacher / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert list((teacher / "checkpoints").glob("last*"))
    assert not folder.exists()


def test_what_the_student_cannot_be_taught_is_said_before_the_teacher_is_tuned(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, said in (([], "has none: take a 24-layer model"), (["adapter.num_layers=7", *TEACHER], "at most the")):
        assert run_train(monkeypatch, *tiny, *BOTH, *wrong, f"output_dir={tmp_path / 'both'}") == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.glob("both*")) == []


def test_settings_of_the_teacher_are_its_own() -> None:
    arguments = tidy_arguments(["experiment=teacher_then_student", "teacher.optimizer.lr=3e-5", "optimizer.lr=1e-3"])
    config = compose_config(arguments)
    assert (config.teacher.optimizer.lr, config.optimizer.lr) == (3e-5, 1e-3)
