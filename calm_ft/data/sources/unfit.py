"""What is said of a file that is not in the format that it should be read as."""

from pathlib import Path

from calm_ft.data.sources.recordings import UnusableText
from calm_ft.data.sources.table import first_line
from calm_ft.errors import UserError

MAX_CHARACTERS_SHOWN = 80


def unfit(path: Path, format: str, expected: str) -> UserError:
    """The error to raise: what the format expects and how the file begins."""
    return UserError(f"{path} is not in the format {format}: expected {expected}, found {beginning(path)}.")


def beginning(path: Path) -> str:
    """How a file begins, for people."""
    try:
        line = first_line(path).strip()
    except UnusableText:
        return "a first line that is not UTF-8 text; save it as UTF-8"
    if not line:
        return "an empty file"
    return f"'{line[:MAX_CHARACTERS_SHOWN]}{'...' if len(line) > MAX_CHARACTERS_SHOWN else ''}'"
