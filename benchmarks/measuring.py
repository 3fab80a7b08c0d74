"""What several benchmarks share: commands measured in processes of their own, and what a run's folder says of them."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError
from calm_ft.report.runs import Run, read_runs
from calm_ft.training.settings import DataSettings

ROOT = Path(__file__).parents[1]
LOGGED = ("train/step_sec", "train/frames_per_sec", "train/x_real_time", "train/padding_share", "memory/")
# On Linux a process starts out with the peak memory of the one that forked it, which here holds torch: so a small one
# starts the command and asks for its peak (in kilobytes, on a Mac in bytes).
MEASURED = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
with open(sys.argv[1], "w") as file:
    json.dump({"sec": round(seconds, 2), "peak_rss_mb": round(peak)}, file)
raise SystemExit(code)
"""


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a module's docstring as it stands."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def positive(text: str) -> int:
    """An integer of at least 1, as a type for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def add_training_options(parser: argparse.ArgumentParser, batch_size: int, steps: int) -> None:
    """--output-dir, --device, --precision, --batch-size and --steps."""
    parser.add_argument("--output-dir", type=Path, required=True, help="an empty or new folder; it takes up to 30 GB")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", default="32-true", help="Lightning's, as bf16-mixed")
    parser.add_argument("--batch-size", type=positive, default=batch_size)
    parser.add_argument("--steps", type=positive, default=steps)


def training_overrides(given: argparse.Namespace, recordings: Path, frames_per_clip: int) -> list[str]:
    """Overrides for those options: batches of `--batch-size` clips, every step logged, and nothing spoken."""
    return [
        f"data.path={recordings}",
        f"data.cache_dir={recordings.with_name('cache')}",
        f"data.max_batch_size={given.batch_size}",
        f"data.max_frames_per_batch={given.batch_size * frames_per_clip}",
        f"trainer.accelerator={'gpu' if given.device == 'cuda' else 'cpu'}",
        f"trainer.precision={given.precision}",
        "trainer.log_every_n_steps=1",
        "evaluation.num_sentences=0",
    ]


def new_folder(path: Path) -> Path:
    """The folder's whole path. Raises UserError where it holds something."""
    folder = path.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files: choose an empty or new folder.")
    return folder


def machine(device: str = "cpu") -> dict[str, Any]:
    """What times depend on beside the code."""
    return {
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def processor() -> str:
    """The processor's name, with what of AVX-512 and AMX it has."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in found.items()}
    known = [each for each in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if each in facts.get("flags", "").split()]
    return " ".join([facts.get("model name", platform.processor()), *known])


def train_command(*overrides: str) -> list[str]:
    """Training as a user starts it."""
    return [sys.executable, "-m", "calm_ft.train", "logger=csv", *overrides]


def measure_command(command: list[str], directory: Path = ROOT) -> tuple[dict[str, Any], str]:
    """Run a command to its end in `directory`, without the hub unless HF_HUB_OFFLINE=0 is set.

    Returns `sec` and `peak_rss_mb` (of its largest process), and what it printed.

    Raises UserError with the command's last words where it fails.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"HF_HUB_OFFLINE": "1", **os.environ, "PYTHONPATH": path}
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as usage:
        measured = [sys.executable, "-c", MEASURED, usage.name, *command]
        code = subprocess.call(measured, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        text = output.read().decode("utf-8", errors="replace")
        if code:
            raise UserError(f"`{' '.join(command)[:300]}` ended with code {code}: {text[-1500:].strip()}")
        return json.loads(Path(usage.name).read_text(encoding="utf-8")), text


def run_figures(folder: Path) -> tuple[Run, dict[str, Any]]:
    """A finished run, and what its folder says of its cost."""
    (run,) = read_runs([folder])
    return run, {
        "num_trained_parameters": run.record["num_trained_parameters"],
        "checkpoint_mb": size_mb(folder / "checkpoints" / "last.ckpt"),
        "training_sec": run.record["training_sec"],
        "logged": {name: round(curve[-1][1], 3) for name, curve in run.curves.items() if name.startswith(LOGGED)},
    }


def size_mb(path: Path) -> float:
    """The size of a file, or of the files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return round(sum(each.stat().st_size for each in files if each.is_file()) / 1e6, 1)


def encode_folder(folder: Path, adapter: TTSAdapter, data: DataSettings) -> list[EncodedUtterance]:
    """A folder's recordings, encoded as training does it."""
    cache = data.cache_folder
    utterances = read_recordings(folder).utterances
    return encode_recordings(utterances, adapter, cache, data.tail_sec, data.max_duration_sec, progress=False).encoded
