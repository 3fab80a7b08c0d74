"""One row of the tables of faults."""

from dataclasses import dataclass

from tests.scripts.bad_input import left
from tests.scripts.bad_input import preparations as made


@dataclass(frozen=True)
class Fault:
    """Overrides (with {good}, {here} and {run}), a part of what is said, how it comes about, what it leaves."""

    overrides: list[str]
    said: str
    prepare: made.Prepare = made.nothing
    leaves: left.Left = left.unchanged
    code: int = 2
