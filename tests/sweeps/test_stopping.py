"""Which signals end a sweep."""

import os
import signal
from pathlib import Path

import pytest

from calm_ft.sweeps.folder import Sweep
from calm_ft.sweeps.stopping import signals_stop


@pytest.fixture
def ignoring(request: pytest.FixtureRequest):
    """The signal is ignored, as a shell has it for what it runs in the background, or nohup."""
    previous = signal.signal(request.param, signal.SIG_IGN)
    yield request.param
    signal.signal(request.param, previous)


@pytest.mark.parametrize("ignoring", [signal.SIGINT, signal.SIGTERM], indirect=True)
def test_a_sweep_in_the_background_can_be_interrupted(ignoring: signal.Signals, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), signals_stop(Sweep(tmp_path / "sweep")):
        os.kill(os.getpid(), ignoring)
    assert signal.getsignal(ignoring) is signal.SIG_IGN


@pytest.mark.parametrize("ignoring", [signal.SIGHUP], indirect=True)
def test_a_sweep_under_nohup_outlives_its_terminal(ignoring: signal.Signals, tmp_path: Path) -> None:
    with signals_stop(Sweep(tmp_path / "sweep")):
        os.kill(os.getpid(), ignoring)
