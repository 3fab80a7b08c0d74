"""Progress of long work on stderr: a bar on a terminal, a line every few seconds in a log file or a pipe.

A line reads `encoding: 40/296 [0:12<1:15]`: done, total, time passed, time left. Work that ends within the first
seconds writes no line.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

LINE_INTERVAL_SEC = 5.0

ItemT = TypeVar("ItemT")


class Progress:
    """A context manager whose `update` counts finished items.

    Args:
        description: what is done, in a word or two.
        total: the number of items, None if unknown; then neither total nor time left is shown.
        unit: what one item is called in the speed beside the bar.
        leave: whether the bar stays on the terminal after the end.
        hidden: show nothing, as on every rank but the first.
        delay_sec: how long the work must last before a bar appears.
    """

    def __init__(
        self,
        description: str,
        total: int | None = None,
        *,
        unit: str = "it",
        leave: bool = True,
        hidden: bool = False,
        delay_sec: float = 0.0,
    ) -> None:
        self.description = description
        self.total = total
        self.num_done = 0
        self._hidden = hidden
        # disable=None: no bar where stderr is not a terminal.
        self._bar = tqdm(
            total=total,
            desc=description,
            unit=unit,
            leave=leave,
            disable=True if hidden or total == 0 else None,
            dynamic_ncols=True,
            delay=delay_sec,
            file=sys.stderr,
        )
        self._started_sec = self._line_sec = time.monotonic()
        self._num_in_line = 0

    def update(self, num_items: int = 1) -> None:
        """Counts `num_items` more as done."""
        self.num_done += num_items
        if not self._bar.disable:
            self._bar.update(num_items)
        elif not self._hidden and time.monotonic() - self._line_sec >= LINE_INTERVAL_SEC:
            self._write_line()

    def close(self) -> None:
        """Closes the bar; where lines were written, adds a last one with the final count."""
        if self._bar.disable and self._num_in_line and self.num_done > self._num_in_line:
            self._write_line()
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write_line(self) -> None:
        self._line_sec = time.monotonic()
        self._num_in_line = self.num_done
        print(
            progress_line(self.description, self.num_done, self.total, self._line_sec - self._started_sec),
            file=sys.stderr,
            flush=True,
        )


def progress(
    iterable: Iterable[ItemT],
    description: str,
    total: int | None = None,
    *,
    unit: str = "it",
    leave: bool = True,
    hidden: bool = False,
    delay_sec: float = 0.0,
) -> Iterator[ItemT]:
    """Yields the items and shows how many are done; `total` is by default the length of `iterable` if it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(description, total, unit=unit, leave=leave, hidden=hidden, delay_sec=delay_sec) as bar:
        for item in iterable:
            yield item
            bar.update()


def progress_line(description: str, num_done: int, total: int | None, elapsed_sec: float) -> str:
    """One line of a log: `encoding: 40/296 [0:12<1:15]`."""
    if not total:
        return f"{description}: {num_done} [{format_duration(elapsed_sec)}]"
    left = format_duration(elapsed_sec / num_done * max(0, total - num_done)) if num_done else "?"
    return f"{description}: {num_done}/{total} [{format_duration(elapsed_sec)}<{left}]"


def format_duration(duration_sec: float) -> str:
    """Minutes and seconds, `0:12`; from an hour on also hours, `1:15:00`."""
    minutes, seconds = divmod(round(duration_sec), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
