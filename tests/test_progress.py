"""Long work shows its progress: a bar on a terminal, whole lines in a log."""

import io
import sys

import pytest

from calm_ft import progress as module
from calm_ft.progress import Progress, progress, progress_line


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds that the helper sees, in its only entry."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_with_the_time_left_every_five_seconds_and_one_at_the_end(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    for _ in progress(range(9), "encoding"):
        clock[0] += 2.0
    assert log.getvalue().splitlines() == [
        "encoding: 3/9 [0:06<0:12]",
        "encoding: 6/9 [0:12<0:06]",
        "encoding: 9/9 [0:18<0:00]",
    ]


def test_short_work_writes_nothing_into_a_log(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress([1, 2, 3], "encoding")) == [1, 2, 3]
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("speaking", total=4) as bar:
        bar.update(3)
        bar.update()
    assert "speaking: 100%" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_hidden_work_shows_nothing_anywhere(
    stream: type[io.StringIO], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    for _ in progress(range(9), "encoding", hidden=True):
        clock[0] += 10.0
    assert stderr.getvalue() == ""


def test_interrupted_work_says_how_far_it_came(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)

    def speak() -> None:
        with Progress("speaking", total=9) as bar:
            clock[0] += 60.0
            bar.update()
            bar.update()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        speak()
    assert log.getvalue().splitlines() == ["speaking: 1/9 [1:00<8:00]", "speaking: 2/9 [1:00<3:30]"]


def test_without_a_total_a_line_has_the_count_and_the_time() -> None:
    assert progress_line("reading", 40, None, 4500.0) == "reading: 40 [1:15:00]"
