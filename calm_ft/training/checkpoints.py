"""Reading checkpoints back: safe by construction (`weights_only`), one sentence where that fails."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calm_ft.errors import UserError


def checkpoint_path(run_dir: Path, which: str) -> Path:
    """`best.ckpt`, or `last.ckpt` where no validation chose one or `which` is "last".

    Raises UserError where the run has no checkpoint.
    """
    names = [which] if which == "last" else [which, "last"]
    for name in names:
        path = run_dir / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            return path
    raise UserError(
        f"{run_dir} has no checkpoint {which!r} in {run_dir / 'checkpoints'}: pass the folder of a finished run."
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content on the CPU.

    Raises UserError where the file is damaged or holds anything but weights and plain data.
    """
    try:
        check_bytes(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not {"state_dict", "ema", "global_step"} <= content.keys():
            raise ValueError("it holds no trained weights")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise UserError(
            f"The checkpoint {path} is damaged or is no checkpoint of this project "
            f"({' '.join(str(error).split())[:120]}): use the run's other one (scripts/export.py --which=last, or "
            "export.which=last)."
        ) from error
    return content


def check_bytes(path: Path) -> None:
    """Raises ValueError where a byte of a torch file has changed: torch itself reads over it.

    The file is a zip archive with a checksum for every record.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    if damaged is not None:
        raise ValueError(f"the checksum of {Path(damaged).name} is wrong")


def trained_weights(checkpoint: Mapping[str, Any], averaged: bool = True) -> dict[str, Tensor]:
    """What an export takes from a checkpoint: fitted statistics, and trained parameters, by default averaged."""
    return {**checkpoint["state_dict"], **(checkpoint["ema"]["shadow"] if averaged else {})}
