"""A run's folder: what is refused, and files that are whole."""

import json
from pathlib import Path

import pytest

from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError
from calm_ft.training.record import RunRecord, write_text


def test_a_record_is_kept_up_to_date_and_nothing_is_written_before_it_starts(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "runs" / "one")
    assert not list(tmp_path.iterdir())
    record.start({"seed": 1}, [Exclusion("clip.wav", "it is silent")], num_clips=3)
    content = json.loads((record.output_dir / "run.json").read_text())
    assert (content["status"], content["num_clips"]) == ("running", 3)
    record.finish("failed", error="why")
    content = json.loads((record.output_dir / "run.json").read_text())
    assert (content["status"], content["num_clips"], content["error"]) == ("failed", 3, "why")
    assert content["wall_sec"] >= 0
    row = json.loads((record.output_dir / "excluded.jsonl").read_text())
    assert row == {"path": "clip.wav", "reason": "it is silent"}
    assert {path.name for path in record.output_dir.iterdir()} == {"run.json", "config.yaml", "excluded.jsonl"}


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    RunRecord(tmp_path).start({}, [])
    assert (tmp_path / "run.json").is_file()


@pytest.mark.parametrize(("name", "said"), [("run.json", "another run"), ("thesis.txt", "other files")])
def test_a_folder_with_files_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=said):
        RunRecord(tmp_path)


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        RunRecord(tmp_path / "file" / "run")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(UserError, match="cannot be written"):
        RunRecord(tmp_path / "run")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    assert path.read_text() == "old"
