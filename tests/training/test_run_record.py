"""A run's folder: what is refused, files that are whole, one run at a time, and times that add up over resumes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.callbacks.record_times import RecordTimes
from calm_ft.training.record import RunRecord, run_status
from calm_ft.training.run_lock import LOCK_NAME, is_locked, remove_abandoned
from tests.training.tiny_run import SAVING, fit

IN_USE = "is in use by another run"


def content(run_dir: Path) -> dict:
    return json.loads((run_dir / "run.json").read_text())


def test_a_record_is_kept_up_to_date_and_nothing_is_written_before_it_starts(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "runs" / "one")
    assert not list(tmp_path.iterdir())
    record.start({"seed": 1}, [Exclusion("clip.wav", "it is silent", 2.5)], num_clips=3)
    first = content(record.output_dir)
    assert (first["status"], first["num_clips"]) == ("running", 3)
    record.finish("failed", error="why")
    record.close()
    last = content(record.output_dir)
    assert (last["status"], last["num_clips"], last["error"]) == ("failed", 3, "why")
    assert last["wall_sec"] >= 0
    row = json.loads((record.output_dir / "excluded.jsonl").read_text())
    assert row == {"path": "clip.wav", "reason": "it is silent", "duration_sec": 2.5}
    assert {path.name for path in record.output_dir.iterdir()} == {"run.json", "config.yaml", "excluded.jsonl"}


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    with RunRecord(tmp_path) as record:
        record.start({}, [])
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
    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    with RunRecord(tmp_path) as record:
        record.start({}, [], note="old")
        with monkeypatch.context() as patched:
            patched.setattr("os.replace", full_disk)
            with pytest.raises(OSError, match="no space"):
                record.update(note="new")
            record.note_training(3, 1.0)  # a note is no reason to end training
    assert content(tmp_path)["note"] == "old"


def test_a_file_name_that_is_not_unicode_can_be_recorded(tmp_path: Path) -> None:
    with RunRecord(tmp_path) as record:
        record.start({}, [Exclusion("cl\udce9.wav", "it is silent")])
    row = json.loads((tmp_path / "excluded.jsonl").read_text(encoding="utf-8"))
    assert row == {"path": "cl\\udce9.wav", "reason": "it is silent", "duration_sec": None}


HOLD = """
import sys
from pathlib import Path
from calm_ft.training.record import RunRecord
record = RunRecord(Path(sys.argv[1]), resume=True)
record.start({}, [])
print("holds it", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"holds it\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_and_a_killed_one_blocks_nobody(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    early = RunRecord(run_dir)  # checked before the other run began, as two runs started at once are
    with held_by_another_process(run_dir) as holder:
        assert run_status(run_dir) == "running"
        before = {path: path.read_bytes() for path in run_dir.iterdir()}
        who = rf"{IN_USE} \(process {holder.pid} on {socket.gethostname()}\)"
        for resume in (False, True):
            with pytest.raises(UserError, match=who):
                RunRecord(run_dir, resume)
        with pytest.raises(UserError, match=who):
            early.start({}, [])
        assert {path: path.read_bytes() for path in run_dir.iterdir()} == before
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (content(run_dir)["status"], run_status(run_dir)) == ("running", "killed")
        with pytest.raises(UserError, match="holds another run"):
            early.start({}, [])
        with RunRecord(run_dir, resume=True) as record:
            remove_abandoned(run_dir)
            assert is_locked(run_dir)
            assert run_status(run_dir) == "running"
            record.start({}, [])
            record.finish("finished")
    assert run_status(run_dir) == "finished"
    assert not (run_dir / LOCK_NAME).exists()


def test_a_child_process_does_not_keep_the_lock_of_a_run_that_ended(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    record.start({}, [])
    child = os.fork()  # as a worker of a DataLoader is
    if not child:
        signal.pause()
    try:
        record.close()
        assert not is_locked(tmp_path)
        RunRecord(tmp_path, resume=True).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_run_that_is_refused_for_another_reason_leaves_the_folder_unlocked(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        RunRecord(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_where_a_run_cannot_be_seen_from_this_machine_it_counts_as_running(tmp_path: Path) -> None:
    process = {"pid": os.getpid(), "host": "elsewhere", "locked": True}
    (tmp_path / "run.json").write_text(json.dumps({"status": "running", "process": process}))
    assert run_status(tmp_path) == "running"
    (tmp_path / "run.json").write_text(json.dumps({"status": "running"}))  # as runs before were recorded
    assert run_status(tmp_path) == "running"


def test_the_times_of_a_run_are_those_of_all_its_stretches(tmp_path: Path) -> None:
    for resumed_at, last_step, status in ((None, 5, "interrupted"), (5, 7, "running"), (6, 9, "finished")):
        with RunRecord(tmp_path, resume=True) as record:
            record.start({}, [], resumed_at)
            record.note_training(last_step - 1, 1.0)
            record.note_training(last_step, 2.5)
            if status != "running":  # which is what a killed run says
                record.finish(status, value=1.0)
    said = content(tmp_path)
    assert (said["num_steps"], said["training_sec"], said["resumed_at_steps"]) == (9, 7.5, [5, 6])
    assert [(each["first_step"], each["last_step"]) for each in said["stretches"]] == [(0, 5), (5, 7), (6, 9)]
    assert [each["training_sec"] for each in said["stretches"]] == [2.5, 2.5, 2.5]
    assert said["wall_sec"] == pytest.approx(sum(each["wall_sec"] for each in said["stretches"]))


def test_a_run_recorded_before_there_were_stretches_goes_on_from_its_times(tmp_path: Path) -> None:
    old = {"status": "interrupted", "started": "2026-01-01T00:00:00+00:00", "training_sec": 300.0, "wall_sec": 400.0}
    (tmp_path / "run.json").write_text(json.dumps(old))
    with RunRecord(tmp_path, resume=True) as record:
        record.start({}, [], 40)
        record.note_training(60, 50.0)
    said = content(tmp_path)
    assert (said["training_sec"], said["num_steps"]) == (350.0, 60)
    assert said["wall_sec"] >= 400.0


def test_training_notes_its_time_with_every_checkpoint_and_at_the_end(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path
) -> None:
    notes: list[tuple[int, float]] = []

    class Noted(RunRecord):
        def note_training(self, step: int, training_sec: float) -> None:
            super().note_training(step, training_sec)
            notes.append((content(self.output_dir)["num_steps"], training_sec))

    with Noted(tmp_path / "run") as record:
        record.start({}, [])
        saving = checkpoint_callbacks(tmp_path / "run" / "checkpoints", SAVING.model_copy(update={"every_n_steps": 2}))
        fit(nano_adapter, clips, tmp_path, max_steps=3, callbacks=[*saving, RecordTimes(record)])
    steps, times = zip(*notes, strict=True)
    assert set(steps) == {2, 3}
    assert list(times) == sorted(times)
    assert record.training_sec == pytest.approx(times[-1], abs=0.06)
