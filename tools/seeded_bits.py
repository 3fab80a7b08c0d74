"""Prints seeded results that a refactoring must not change by a bit, and compares two such lists.

    python -m tools.seeded_bits CHECKOUT > before.txt     # at the commit before
    python -m tools.seeded_bits CHECKOUT > after.txt      # at the commit after
    python -m tools.seeded_bits --diff before.txt after.txt

Five short runs by the real command, on one thread of a CPU: every logged loss and residual in full precision, and a
hash of every exported weight. The same machine and the same versions of torch are taken for granted. What the voice
prompt decides is printed in lines of its own, which begin with "voice".
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import torch
from torch import Tensor

NUM_CLIPS = 12
COMMON = {
    "seed": "0",
    "data.max_batch_size": "4",
    "data.validation_fraction": "0.25",
    "trainer.max_steps": "8",
    "trainer.val_check_interval": "4",
    "trainer.log_every_n_steps": "1",
    "trainer.accelerator": "cpu",
    "logger": "csv",
    "evaluation.num_sentences": "0",
    "evaluation.every_n_steps": "null",
    "optimizer.lr": "1e-3",
}
RUNS = {
    "head_only": {"experiment": "head_only"},
    "last_n_layers": {"experiment": "last_n_layers"},
    "full": {"experiment": "full"},
    "lora": {"experiment": "lora"},
    "chatterbox_t3": {"experiment": "chatterbox_t3", "adapter": "chatterbox_tiny"},
}
VOICES = ("voice.safetensors", "conds.pt")
NOT_SEEDED = ("x_real_time", "_sec", "_mb", "share")
"""Ends of the names of speed and memory."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=Path("."), help="default: this folder")
    parser.add_argument("--diff", type=Path, nargs=2, metavar="FILE", help="compare two lists instead")
    arguments = parser.parse_args()
    if arguments.diff:
        raise SystemExit(compare(*arguments.diff))
    with tempfile.TemporaryDirectory() as scratch:
        for name, overrides in RUNS.items():
            run_dir = train(arguments.checkout.resolve(), {**COMMON, **overrides}, Path(scratch), name)
            for line in results(name, run_dir):
                print(line, flush=True)


def train(checkout: Path, overrides: Mapping[str, str], folder: Path, name: str) -> Path:
    """One run of a checkout on its own demo voice; returns the run's folder."""
    clips = folder / "clips"
    if not clips.is_dir():
        clips.mkdir()
        for audio in sorted((checkout / "calm_ft/assets/demo_voice/train").glob("*.ogg"))[:NUM_CLIPS]:
            shutil.copy(audio, clips)
            shutil.copy(audio.with_suffix(".txt"), clips)
    places = {"data.path": clips, "data.cache_dir": folder / "cache", "output_dir": folder / name}
    command = [
        sys.executable,
        "scripts/train.py",
        *(f"{key}={value}" for key, value in {**overrides, **places}.items()),
    ]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)
    return folder / name


def results(name: str, run_dir: Path) -> Iterator[str]:
    """The lines of one run."""
    with (run_dir / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for column in sorted(rows[0]):
        if column.startswith(("train/", "val/")) and not column.endswith(NOT_SEEDED):
            values = (f"{row['step']}:{float(row[column])!r}" for row in rows if row.get(column))
            yield f"{name} {column} {' '.join(values)}"
    record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    yield f"{name} residual of the export {record['value']!r}"
    for path in sorted(each for each in run_dir.rglob("*") if each.suffix == ".safetensors" or each.name in VOICES):
        begin = "voice " if path.name in VOICES else ""
        yield f"{begin}{name} {path.relative_to(run_dir)} {content_hash(path)}"


def content_hash(path: Path) -> str:
    """A hash of the tensors of a file with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_tensors(path).items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return dict(_flat(torch.load(path, weights_only=True), ""))


def _flat(tree: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}")
    elif isinstance(tree, Tensor):
        yield prefix, tree


def compare(before: Path, after: Path) -> int:
    """Print every line that differs; 1 where one that is not of a voice does."""
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    changed = [f"- {line}" for line in old if line not in new] + [f"+ {line}" for line in new if line not in old]
    for line in changed:
        print(line)
    num_forbidden = sum(not line[2:].startswith("voice ") for line in changed)
    print(f"{num_forbidden} lines differ" if num_forbidden else "the same bits")
    return int(num_forbidden > 0)


if __name__ == "__main__":
    main()
