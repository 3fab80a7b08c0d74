"""Checkpoints read back, and which of them a run resumes from if it is still the same run.

Reading is safe: torch's `weights_only` and the checksums of the file, with one sentence where they fail. Everything
random is a function of (seed, stream, step), and batch k of (seed, k). So weights, their average, optimizer, schedule,
the callbacks' states and the number of steps are the whole state of a run; `callbacks/restore.py` puts it back.
"""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calm_ft.commands import command_line
from calm_ft.errors import UserError
from calm_ft.tensor_hash import add_tensors

BEST, LAST = "best", "last"
STEP_NAME = re.compile(r"step-(\d{8})\.ckpt")
HOW_TO_MEND = "resume with the settings and data that the run began with, or choose a new output_dir"
WITHOUT_EFFECT_ON_WEIGHTS = frozenset({"model", "local_dir", "gradient_checkpointing", "language", "package"})
"""Settings of an adapter: the weights themselves are compared, not where they come from."""
JUDGED_BY = ("num_sentences", "num_scored_sentences", "heldout_path", "base_voices", "asr", "language")
"""Evaluation settings on which a figure such as eval/cer depends."""


def checkpoint_path(run_dir: Path, which: str) -> Path:
    """`best.ckpt`, or `last.ckpt` where no validation chose a best one or `which` is "last".

    Raises UserError where the run has no checkpoint.
    """
    for name in dict.fromkeys([which, LAST]):
        path = run_dir / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            return path
    raise UserError(
        f"{run_dir} has no checkpoint {which!r} in {run_dir / 'checkpoints'}: pass the folder of a finished run."
    )


def step_checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """(step, file) of the saved steps, newest first."""
    found = ((STEP_NAME.fullmatch(path.name), path) for path in directory.glob("step-*.ckpt"))
    return sorted(((int(name.group(1)), path) for name, path in found if name), reverse=True)


def read_checkpoint(path: Path, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint's content on the CPU.

    Args:
        mapped: the tensors stay in the file until they are read, for who needs a part of them and copies it: all of
            them take four times the memory of what trains.

    Raises UserError where the file is damaged or holds anything but weights and plain data.
    """
    try:
        check_bytes(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        if not isinstance(content, dict) or not {"state_dict", "ema", "global_step"} <= content.keys():
            raise ValueError("it holds no trained weights")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise UserError(
            f"The checkpoint {path} is damaged or is no checkpoint of this project "
            f"({' '.join(str(error).split())[:120]}): use the run's other one "
            f"(`{command_line('export')} RUN --which=last`, or export.which=last)."
        ) from error
    return content


def check_bytes(path: Path) -> None:
    """Raises ValueError where a byte of a torch file has changed, which torch itself does not notice.

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


@dataclass(frozen=True)
class ResumePoint:
    """A readable checkpoint of a run, with the number of optimizer steps done before it was saved."""

    path: Path
    step: int
    content: dict[str, Any]


def find_resume_point(run_dir: Path, say: Callable[[str], None]) -> ResumePoint | None:
    """The newest readable checkpoint, None if there is none yet; `say` is told of each damaged one.

    Raises UserError where there are checkpoints and all of them are damaged.
    """
    directory = run_dir / "checkpoints"
    last = directory / f"{LAST}.ckpt"
    candidates = [*([last] if last.is_file() else []), *(path for _, path in step_checkpoints(directory))]
    for path in candidates:
        try:
            content = read_checkpoint(path)
        except UserError:
            say(f"{path.name} is damaged; trying the checkpoint before it")
            continue
        return ResumePoint(path, int(content["global_step"]), content)
    if candidates:
        raise UserError(
            f"Every checkpoint in {directory} is damaged ({', '.join(path.name for path in candidates)}): "
            "start again in another output_dir."
        )
    return None


def run_identity(
    config: Mapping[str, Any],
    base_fingerprint: str,
    data_rows: Sequence[Any],
    num_ranks: int,
    feature_fingerprint: str,
    num_prompt_draws: int | None = None,
) -> dict[str, str]:
    """What makes two runs the same run, whatever their length: part (as it is named to users) -> fingerprint.

    A part is here if it changes the weights that training ends with, or what the best checkpoint is chosen by. So where
    files lie, how they are loaded, what is logged and what is evaluated beside training may change; evaluation settings
    count only where `checkpoint.monitor` is a figure of the evaluation, whose values would no longer compare.

    Args:
        config: the composed configuration.
        base_fingerprint: of the weights before training.
        data_rows: `EncodedSource.identity` of every source.
        num_ranks: processes that train together.
        feature_fingerprint: of what was cached for a training clip.
        num_prompt_draws: `data.num_prompt_draws`, by which rows are drawn where layers are frozen.
    """
    adapter = {name: value for name, value in config["adapter"].items() if name not in WITHOUT_EFFECT_ON_WEIGHTS}
    # LoRA weights to start from: a resumed run has its own.
    strategy = {name: value for name, value in config["strategy"].items() if name != "weights"}
    trainer = config["trainer"]
    arithmetic = [
        trainer.get("precision"),
        trainer.get("gradient_clip_val"),
        trainer.get("gradient_clip_algorithm"),
        trainer.get("accumulate_grad_batches", 1),
        num_ranks,
    ]
    parts = {
        "model": base_fingerprint,
        "data": settings_fingerprint(data_rows),
        "features": feature_fingerprint,
        "batch limits": settings_fingerprint([config["data"][n] for n in ("max_frames_per_batch", "max_batch_size")]),
        "number of prompt draws": str(num_prompt_draws),
        "strategy": settings_fingerprint(strategy),
        "objective or adapter settings": settings_fingerprint(adapter),
        "optimizer": settings_fingerprint([config["optimizer"], config["ema_decay"]]),
        "precision, clipping, accumulation or number of processes": settings_fingerprint(arithmetic),
        "seed": str(config["seed"]),
    }
    monitor = str(config["checkpoint"]["monitor"])
    if monitor.startswith("eval/"):
        judged_by = [config["evaluation"].get(name) for name in JUDGED_BY]
        parts["evaluation"] = settings_fingerprint([monitor, judged_by])
    return parts


def check_identity(point: ResumePoint, identity: Mapping[str, str]) -> None:
    """Raises UserError where the checkpoint was made with another model, data, strategy or any other part."""
    theirs = point.content.get("identity", {})
    different = [name for name, value in identity.items() if theirs.get(name) != value]
    if different:
        raise UserError(
            f"The checkpoint {point.path} belongs to another run: its {' and '.join(different)} "
            f"{'differs' if len(different) == 1 else 'differ'}; {HOW_TO_MEND}."
        )


def settings_fingerprint(settings: Any) -> str:
    """A hash of plain settings; a class counts by its name, so that code may move between modules."""
    return hashlib.sha256(json.dumps(_by_class_name(settings), sort_keys=True, default=str).encode()).hexdigest()[:16]


def _by_class_name(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {
            name: str(value).rpartition(".")[2] if name == "_target_" else _by_class_name(value)
            for name, value in settings.items()
        }
    return [_by_class_name(each) for each in settings] if isinstance(settings, list | tuple) else settings


def weights_fingerprint(module: nn.Module) -> str:
    """A hash of a module's parameters and buffers with their names."""
    digest = hashlib.blake2b(digest_size=8)
    add_tensors(digest, module.state_dict().items())
    return digest.hexdigest()
