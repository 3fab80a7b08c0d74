"""Two runs by one command: a teacher that is tuned, and a student that learns from its export."""

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
