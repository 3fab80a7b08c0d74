"""The whole way at the released size: train, resume, export and strict stock loading, with time and memory of each.

The released weights are gated, so a random model of their shape stands in: what is measured is cost, not speech. Each
command runs as a user runs it, in a process of its own; recordings are the demo voice's shortest.

    python benchmarks/real_size.py --layers 6 --output-dir real_size
    python benchmarks/real_size.py --layers 24 --output-dir real_size_24 --strategies head_only
    python benchmarks/real_size.py --output-dir gpu --device cuda --precision bf16-mixed --batch-size 64 --steps 20
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import soundfile
import torch

from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import UserError, run_script
from tools.nano.released_shape import RELEASED, write_released_shape

ROOT = Path(__file__).parents[1]
STRATEGIES = ("head_only", "last_n_layers", "full", "lora")
NUM_CLIPS = 8
NUM_RESUMED_STEPS = 1
LOGGED = ("train/step_sec", "train/frames_per_sec", "train/x_real_time", "train/padding_share", "memory/")
PROBE = """
import json, sys, time
from pathlib import Path
from calm_ft.config import compose_config, experiment_from
from calm_ft.config.overrides import tidy_arguments
from calm_ft.data.prepare import encode_recordings
from calm_ft.data.sources import read_recordings
experiment = experiment_from(compose_config(tidy_arguments(sys.argv[1:])))
started = time.perf_counter()
adapter = experiment.adapter_factory()
loaded = time.perf_counter()
data = experiment.data
utterances = read_recordings(Path(data.path)).utterances
limits = (data.tail_sec, data.max_duration_sec)
encoded = encode_recordings(utterances, adapter, Path(data.cache_dir), *limits, progress=False).encoded
encode_sec, audio_sec = time.perf_counter() - loaded, sum(clip.duration_sec for clip in encoded)
figures = {"load_sec": loaded - started, "latents_sec": encode_sec, "audio_sec": audio_sec}
figures["latents_x_real_time"] = audio_sec / encode_sec
print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
"""
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
STOCK_LOAD = "import sys; from pocket_tts import TTSModel; TTSModel.load_model(config=sys.argv[1])"


def main() -> None:
    arguments = _parse()
    folder = arguments.output_dir.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files: choose an empty or new folder for the benchmark.")
    bundle = write_released_shape(folder / "bundle", arguments.layers)
    num_clips = max(NUM_CLIPS, 2 * arguments.batch_size)
    common = _common_overrides(arguments, folder, bundle, _copy_recordings(folder / "recordings", num_clips))
    probe = measure_command([sys.executable, "-c", PROBE, "logger=csv", *common], folder)
    results: dict[str, Any] = {
        "machine": {
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "num_layers": arguments.layers,
        "weights_mb": _size_mb(bundle / "model.safetensors"),
        "preparation": {**json.loads(probe.pop("output").splitlines()[-1]), **probe},
        "strategies": {},
    }
    for strategy in arguments.strategies:
        results["strategies"][strategy] = _rehearse(strategy, common, arguments.steps, folder)
        print(json.dumps({strategy: results["strategies"][strategy]}, indent=2), flush=True)
        write_text(folder / "real_size.json", json.dumps(results, indent=2) + "\n")
    print(f"wrote {folder / 'real_size.json'}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True, help="an empty folder; holds runs of 1 to 20 GB")
    parser.add_argument("--layers", type=int, choices=sorted(RELEASED), default=6)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", default="32-true", help="Lightning's, as bf16-mixed")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    if min(arguments.batch_size, arguments.steps) < 1:
        raise UserError("--batch-size and --steps must be at least 1.")
    return arguments


def _copy_recordings(folder: Path, num_clips: int) -> Path:
    """The demo voice's shortest recordings, each as often as it takes; a copy's name and text make it another clip."""
    folder.mkdir(parents=True)
    train = sorted((ASSETS / "demo_voice" / "train").glob("*.ogg"), key=lambda path: soundfile.info(path).frames)
    for number in range(num_clips):
        source = train[number % len(train)]
        shutil.copy(source, folder / f"{number:03d}.ogg")
        shutil.copy(source.with_suffix(".txt"), folder / f"{number:03d}.txt")
    return folder


def _common_overrides(arguments: argparse.Namespace, folder: Path, bundle: Path, recordings: Path) -> list[str]:
    return [
        "adapter=pocket_tts",
        f"adapter.model={bundle}",
        f"data.path={recordings}",
        f"data.cache_dir={folder / 'cache'}",
        f"data.max_batch_size={arguments.batch_size}",
        f"data.max_frames_per_batch={arguments.batch_size * 100}",
        f"trainer.accelerator={'gpu' if arguments.device == 'cuda' else 'cpu'}",
        f"trainer.precision={arguments.precision}",
        "trainer.log_every_n_steps=1",
        "evaluation.num_sentences=0",
    ]


def _rehearse(strategy: str, common: list[str], num_steps: int, folder: Path) -> dict[str, Any]:
    """Train, resume for a step more, export the last checkpoint, load it strictly with the stock package."""
    run, elsewhere = folder / "runs" / strategy, folder / "exports" / strategy
    train = [sys.executable, "scripts/train.py", f"experiment={strategy}", "logger=csv", *common, f"output_dir={run}"]
    trained = measure_command([*train, f"trainer.max_steps={num_steps}"], ROOT)
    resumed = measure_command([*train, f"trainer.max_steps={num_steps + NUM_RESUMED_STEPS}", "resume=true"], ROOT)
    export = [sys.executable, "scripts/export.py", str(run), "--which", "last", "--output-dir", str(elsewhere)]
    exported = measure_command(export, ROOT)
    loaded = measure_command([sys.executable, "-c", STOCK_LOAD, str(elsewhere / "config.yaml")], folder)
    for each in (trained, resumed, exported, loaded):
        del each["output"]
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "checkpoint_mb": _size_mb(run / "checkpoints" / "last.ckpt"),
        "export_mb": _size_mb(elsewhere / "model.safetensors"),
        "num_trained_parameters": facts["num_trained_parameters"],
        "resumed_at_steps": facts["resumed_at_steps"],
        "logged": last_figures(run / "metrics.csv", LOGGED),
        "train": trained,
        "resume": resumed,
        "export": exported,
        "stock_strict_load": loaded,
    }


def measure_command(command: list[str], directory: Path) -> dict[str, Any]:
    """Run a command to its end in `directory`; returns `sec`, `peak_rss_mb` (of its largest process) and its `output`.

    Raises UserError with the command's last words where it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as usage:
        measured = [sys.executable, "-c", MEASURED, usage.name, *command]
        code = subprocess.call(measured, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        text = output.read().decode("utf-8", errors="replace")
        if code:
            raise UserError(f"`{' '.join(command)[:300]}` ended with code {code}: {text[-1500:].strip()}")
        return {**json.loads(Path(usage.name).read_text(encoding="utf-8")), "output": text}


def last_figures(metrics: Path, prefixes: tuple[str, ...]) -> dict[str, float]:
    """The last value of every logged figure whose name begins so."""
    figures: dict[str, float] = {}
    with metrics.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            figures |= {
                name: round(float(value), 3) for name, value in row.items() if value and name.startswith(prefixes)
            }
    return figures


def _size_mb(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 1)


if __name__ == "__main__":
    run_script(main)
