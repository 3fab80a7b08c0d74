"""A terminal that is closed while training: the run saves, says that it was interrupted, and can be continued."""

import json
import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest

from calm_ft.training.record import run_status
from calm_ft.training.resume import find_resume_point
from tests.scripts.sigkill import ROOT

PATIENCE_SEC = 200


@pytest.mark.slow
def test_a_closed_terminal_saves_the_step_and_ends_the_run_well(
    recordings_dir: Path, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = [*tiny, f"data.path={recordings_dir}", f"output_dir={run}", "trainer.max_steps=100000"]
    arguments = [sys.executable, str(ROOT / "scripts" / "train.py"), *settings, "checkpoint.every_n_steps=5"]
    pid, terminal = pty.fork()
    if not pid:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests were started by nohup, it is ignored
        os.chdir(ROOT)
        os.execv(sys.executable, arguments)
    try:
        _close_once_saved(run, terminal)
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # it would train on for hours
        raise
    assert os.waitstatus_to_exitcode(status) == 0
    facts = json.loads((run / "run.json").read_text())
    assert run_status(run) == "interrupted"
    point = find_resume_point(run, print)
    assert point is not None
    assert point.step == facts["num_steps"] >= 5
    assert facts["training_sec"] > 0


def _close_once_saved(run: Path, terminal: int) -> None:
    give_up_sec = time.monotonic() + PATIENCE_SEC
    os.set_blocking(terminal, False)
    said = b""
    while not (run / "checkpoints" / "last.ckpt").is_file():
        assert time.monotonic() < give_up_sec, said.decode()
        time.sleep(0.1)
        try:
            said += os.read(terminal, 1_000_000)  # a terminal that nobody reads would block its program
        except BlockingIOError:
            continue
    os.close(terminal)
