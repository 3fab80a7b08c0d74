"""How the commands are started: `calm-ft train`, `python -m calm_ft.train` or `python scripts/train.py`."""

import gc
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

COMMANDS = {
    "prepare": "make a dataset that trains well of recordings as they are",
    "train": "fine-tune a model to a voice and export it",
    "evaluate": "measure what a run or an export sounds like",
    "compare": "compare runs in one HTML page",
    "export": "write, move or publish the files that the stock package plays",
    "synthesize": "speak a text into a wav file",
    "voices": "keep voices by name, for every system",
}
PROGRAM = "calm-ft"


def words_of(command: str) -> list[str]:
    """The words that start a command, in the form in which the user started the present one.

    A process that no user started, such as a worker of a sweep, gets `python -m calm_ft.COMMAND`, which works anywhere.
    """
    words = sys.orig_argv
    for word, following in zip(words, [*words[1:], ""], strict=True):
        path = Path(word)
        if path.stem == PROGRAM:
            return [PROGRAM, command]
        if path.suffix == ".py" and path.stem in COMMANDS:
            return ["python", str(path.with_name(f"{command}.py"))]
        if word == "-m" and following == "calm_ft":
            return ["python", "-m", "calm_ft", command]
        if word == "-m":
            break
    return ["python", "-m", f"calm_ft.{command}"]


def command_line(command: str, arguments: Sequence[object] = ()) -> str:
    """A line that can be pasted into a shell, whatever blanks, quotes or brackets the arguments hold."""
    return shlex.join([*words_of(command), *map(str, arguments)])


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import large packages without a search for garbage among the objects that they make, all of which stay.

    The search takes a fifth of the time: importing torch, Lightning and the training took 6.1 s instead of 7.7.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
