"""Write an export's folder as a whole or not at all, and never over other files."""

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import safetensors

from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line


def check_target(directory: Path, exported: Iterable[str], sign: str, base_files: Iterable[Path]) -> None:
    """Raises UserError where an export would overwrite other files, or the model that it was tuned from.

    Args:
        exported: names of the files that an export has; sign: the one by which it is known.
        base_files: local files of the base model.
    """
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file: choose an empty or new folder for the export.")
    found = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    known = set(exported)
    others = [name for name in found if name not in known]
    if others or (found and sign not in found):
        raise UserError(
            f"{directory} holds other files ({(others or found)[0]}): choose an empty or new folder for the export."
        )
    if any(path.resolve().parent == directory.resolve() for path in base_files):
        raise UserError(f"{directory} holds the base model of this one: choose another folder for the export.")


def write_folder(directory: Path, write_files: Callable[[Path], None], what: str = "The export") -> None:
    """Let `write_files` fill a new folder and put it in the place of `directory`; `what` names it in the message.

    Raises UserError where it cannot be written; what was there before stays then.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
            staging = Path(scratch) / "new"
            staging.mkdir()
            write_files(staging)
            _swap(staging, directory, Path(scratch) / "old")
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{what} cannot be written to {directory} ({one_line(error)}): make room or choose another folder."
        ) from error


def _swap(staging: Path, directory: Path, old: Path) -> None:
    """Put the new folder in the place of the old one, and the old one back if that fails."""
    if directory.exists():
        os.replace(directory, old)
    try:
        os.replace(staging, directory)
    except BaseException:
        if old.exists():
            os.replace(old, directory)
        raise
