"""What training T3 costs at full size: time and memory of full, last_n_layers and LoRA, with and without checkpointing.

Random weights of the released shape stand in for the released ones: what is measured is cost, not speech. Each command
runs as a user runs it, in a process of its own. Recordings are the demo voice's, joined to clips of a given length.

    python -m benchmarks.chatterbox_size --output-dir chatterbox_size
    python -m benchmarks.chatterbox_size --output-dir gpu --device cuda --precision bf16-mixed --batch-size 4 --steps 20
"""

import argparse
import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.real_size import LOGGED, ROOT, last_figures, measure_command
from calm_ft.adapters.chatterbox.tiny import write_random_files
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import UserError, run_script

VARIANTS = {
    "lora": ["experiment=chatterbox_lora"],
    "lora, gradient checkpointing": ["experiment=chatterbox_lora", "adapter.gradient_checkpointing=true"],
    "last_n_layers": ["experiment=chatterbox_t3", "strategy=last_n_layers", "strategy.num_layers=2"],
    "full": ["experiment=chatterbox_t3"],
    "full, gradient checkpointing": ["experiment=chatterbox_t3", "adapter.gradient_checkpointing=true"],
}
FROM_LOCAL = "import sys; from chatterbox.tts import ChatterboxTTS; ChatterboxTTS.from_local(sys.argv[1], 'cpu')"


def main() -> None:
    arguments = _parse()
    folder = arguments.output_dir.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files: choose an empty or new folder for the benchmark.")
    model = write_random_files(folder / "model")
    num_clips = 2 * arguments.batch_size + 1  # two batches, and one clip to validate
    recordings = join_recordings(folder / "recordings", num_clips, arguments.clip_sec, arguments.text_characters)
    common = _common_overrides(arguments, folder, model, recordings)
    results: dict[str, Any] = {
        "machine": {
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        },
        "batch": {"rows": arguments.batch_size, "clip_sec": arguments.clip_sec, "steps": arguments.steps},
        "variants": {},
    }
    for name in arguments.variants:
        results["variants"][name] = _rehearse(VARIANTS[name], common, folder)
        print(json.dumps({name: results["variants"][name]}, indent=2), flush=True)
        write_text(folder / "chatterbox_size.json", json.dumps(results, indent=2) + "\n")
    print(f"wrote {folder / 'chatterbox_size.json'}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True, help="an empty folder; holds up to 30 GB")
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", default="32-true", help="Lightning's, as bf16-mixed")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--clip-sec", type=float, default=20.0, help="25 speech tokens a second (default: 20, 500)")
    parser.add_argument("--text-characters", type=int, default=100, help="about a token each (default: 100)")
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    if min(arguments.batch_size, arguments.steps, arguments.text_characters) < 1 or arguments.clip_sec < 1:
        raise UserError("--batch-size, --steps, --text-characters and --clip-sec must be at least 1.")
    return arguments


def join_recordings(folder: Path, num_clips: int, clip_sec: float, text_characters: int) -> Path:
    """Clips of exactly `clip_sec`, each of other recordings of the demo voice, with texts of about as many letters."""
    folder.mkdir(parents=True)
    files = sorted((ASSETS / "demo_voice" / "train").glob("*.ogg"))
    at = 0
    for number in range(num_clips):
        samples, rate, text = np.zeros(0), 1, ""
        while len(samples) < clip_sec * rate:
            one, rate = soundfile.read(files[at % len(files)])
            samples = np.concatenate([samples, one])
            text += " " + files[at % len(files)].with_suffix(".txt").read_text(encoding="utf-8").strip()
            at += 1
        soundfile.write(folder / f"{number:03d}.wav", samples[: round(clip_sec * rate)], rate)
        (folder / f"{number:03d}.txt").write_text(text.strip()[:text_characters], encoding="utf-8")
    return folder


def _common_overrides(arguments: argparse.Namespace, folder: Path, model: Path, recordings: Path) -> list[str]:
    return [
        "logger=csv",
        f"adapter.local_dir={model}",
        f"data.path={recordings}",
        f"data.cache_dir={folder / 'cache'}",
        f"data.max_batch_size={arguments.batch_size}",
        f"data.max_frames_per_batch={arguments.batch_size * round(26 * arguments.clip_sec)}",
        f"trainer.accelerator={'gpu' if arguments.device == 'cuda' else 'cpu'}",
        f"trainer.precision={arguments.precision}",
        f"trainer.max_steps={arguments.steps}",
        "trainer.accumulate_grad_batches=1",
        "trainer.log_every_n_steps=1",
        "checkpoint.keep=1",
        "evaluation.num_sentences=0",
    ]


def _rehearse(variant: list[str], common: list[str], folder: Path) -> dict[str, Any]:
    """Train and export by the whole command, load the export with the stock package; then make room."""
    run = folder / "run"
    train = [sys.executable, "scripts/train.py", *variant, *common, f"output_dir={run}"]
    trained = measure_command(train, ROOT)
    loaded = measure_command([sys.executable, "-c", FROM_LOCAL, str(run / "export")], folder)
    for each in (trained, loaded):
        del each["output"]
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    figures = {
        "num_trained_parameters": facts["num_trained_parameters"],
        "checkpoint_mb": round((run / "checkpoints" / "last.ckpt").stat().st_size / 1e6, 1),
        "training_sec": facts["training_sec"],
        "logged": last_figures(run / "metrics.csv", LOGGED),
        "train": trained,
        "from_local": loaded,
    }
    shutil.rmtree(run)
    return figures


if __name__ == "__main__":
    run_script(main)
