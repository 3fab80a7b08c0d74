"""A 200-step run killed again and again by SIGKILL at random moments, beside one that was left in peace.

    python -m tests.scripts.sigkill --num-kills 20

Kills fall anywhere: while modules load, while clips are encoded, while the base speaks, in steps, validations, samples
and saves. Prints one line a kill and whether both runs ended in the same bits.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.training.tiny_run import copy_short_clips

ROOT = Path(__file__).parents[2]
NUM_STEPS, SAVE_EVERY = 200, 5
POLL_SEC = 0.02


@dataclass
class Kill:
    """One SIGKILL: where it was aimed, seconds after the process began, what the run's folder then held."""

    aim: str
    after_sec: float
    status: str
    checkpoint_step: int


def command(recordings: Path, output_dir: Path, cache_dir: Path) -> list[str]:
    """A run with everything in it: validation, samples, saves, the average, several clips a step."""
    settings = [
        f"data.path={recordings}",
        f"data.cache_dir={cache_dir}",
        f"output_dir={output_dir}",
        "experiment=last_n_layers",
        "resume=true",
        "data.max_batch_size=2",
        "data.num_workers=0",
        "optimizer.lr=1e-3",
        f"trainer.max_steps={NUM_STEPS}",
        "trainer.val_check_interval=15",
        "trainer.accelerator=cpu",
        "trainer.accumulate_grad_batches=2",
        "trainer.log_every_n_steps=1",
        f"checkpoint.every_n_steps={SAVE_EVERY}",
        "evaluation.every_n_steps=50",
        "evaluation.num_scored_sentences=1",
        "evaluation.max_time_share=1",
        "evaluation.num_sentences=1",
        "logger=csv",
    ]
    return [sys.executable, str(ROOT / "scripts" / "train.py"), *settings]


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)


# Where kills are aimed, in turn: a sign in the files, and up to how many seconds after it.
AIMS = {
    "loading": 6.0,  # from the start of the process
    "caching": 0.5,  # from the first sign of the feature cache
    "judging the base": 2.0,  # from the moment when run.json says running
    "training": 1.5,  # from the first checkpoint of this process
}
IN_TURN = ["loading", "caching", "loading", "judging the base", "training", "training", "judging the base"]


def kill_at_random(
    aim: str, arguments: list[str], run: Path, cache: Path, log: Path, draw: random.Random
) -> Kill | None:
    """Start, wait for the sign and a random while after it, kill; None where the run came to its end first."""
    step, started, began = newest_step(run), modified(run / "run.json"), time.perf_counter()
    process = start(arguments, log)
    signs: dict[str, Callable[[], bool]] = {
        "loading": lambda: True,
        "caching": cache.exists,
        "judging the base": lambda: modified(run / "run.json") != started,
        "training": lambda: newest_step(run) > step,
    }
    while process.poll() is None and not signs[aim]():
        time.sleep(POLL_SEC)
    wait(process, draw.uniform(0.0, AIMS[aim]))
    if process.poll() is not None:
        if process.returncode:
            raise RuntimeError(f"the run failed with code {process.returncode}: {log.read_text()[-2000:]}")
        return None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return Kill(aim, time.perf_counter() - began, status(run), newest_step(run))


def modified(path: Path) -> int:
    """When a file was written last; 0 for one that is not there."""
    return path.stat().st_mtime_ns if path.is_file() else 0


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.perf_counter() + seconds
    while process.poll() is None and time.perf_counter() < end:
        time.sleep(POLL_SEC)


def status(run: Path) -> str:
    path = run / "run.json"
    return json.loads(path.read_text())["status"] if path.is_file() else "no folder"


def newest_step(run: Path) -> int:
    return max((int(path.stem[5:]) for path in (run / "checkpoints").glob("step-*.ckpt")), default=0)


def run_with_kills(folder: Path, num_kills: int, seed: int) -> list[Kill]:
    """The peaceful run in folder/whole, the killed one in folder/killed."""
    recordings = copy_short_clips(folder / "recordings", 9)
    subprocess.run(
        [each for each in command(recordings, folder / "whole", folder / "cache_whole") if each != "resume=true"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    draw = random.Random(seed)
    arguments = command(recordings, folder / "killed", folder / "cache_killed")
    kills: list[Kill] = []
    while len(kills) < num_kills:
        aim = IN_TURN[len(kills)] if len(kills) < len(IN_TURN) else "training"
        killed, cache, log = folder / "killed", folder / "cache_killed", folder / "killed.log"
        kill = kill_at_random(aim, arguments, killed, cache, log, draw)
        if kill is None:
            break  # it was faster than the kills
        kills.append(kill)
        where = f"{kill.aim}, {kill.after_sec:.1f} s after the start"
        print(f"kill {len(kills):2d}: {where}; {kill.status}, checkpoint of step {kill.checkpoint_step}", flush=True)
    if start(arguments, folder / "killed.log").wait():
        raise RuntimeError((folder / "killed.log").read_text()[-2000:])
    return kills


def differences(folder: Path) -> list[str]:
    """The names of what is not the same in both runs: weights, average, optimizer, best checkpoint, export, figures."""
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (
            torch.load(folder / run / "checkpoints" / name, weights_only=True) for run in ("whole", "killed")
        )
        found += [f"{name}: {part}" for part in first if part != "callbacks" and not same(first[part], second[part])]
    exports = [(folder / run / "export" / "model.safetensors").read_bytes() for run in ("whole", "killed")]
    found += ["export"] if exports[0] != exports[1] else []
    records = [json.loads((folder / run / "run.json").read_text()) for run in ("whole", "killed")]
    figures = [[each["residuals"], each.get("evaluation", {}).get("systems")] for each in records]
    return found + (["figures"] if figures[0] != figures[1] else [])


def same(first: object, second: object) -> bool:
    """Equality through nested containers, tensors bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(same(first[name], second[name]) for name in first)
        )
    if isinstance(first, list | tuple):
        return (
            isinstance(second, list | tuple)
            and len(first) == len(second)
            and all(same(one, other) for one, other in zip(first, second, strict=True))
        )
    return first == second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kills = run_with_kills(Path(folder), given.num_kills, given.seed)
        found = differences(Path(folder))
    print(f"{len(kills)} kills; " + (f"different: {', '.join(found)}" if found else "the same bits as the whole run"))


if __name__ == "__main__":
    main()
