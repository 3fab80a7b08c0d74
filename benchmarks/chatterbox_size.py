"""What training T3 costs at full size: time and memory of full, last_n_layers and LoRA, with and without checkpointing.

The English model, Turbo or the multilingual one (`--model`).

Random weights of the released shape stand in for the released ones: what is measured is cost, not speech. Each command
runs as a user runs it, in a process of its own. The recordings are the demo voice's, joined to clips of a given length.

    python -m benchmarks.chatterbox_size --output-dir chatterbox_size
    python -m benchmarks.chatterbox_size --output-dir gpu --device cuda --precision bf16-mixed --batch-size 4 --steps 20
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks import measuring
from benchmarks.measuring import measure_command, positive
from calm_ft.adapters.chatterbox import tiny as english
from calm_ft.adapters.chatterbox_multilingual import models as multilingual
from calm_ft.adapters.chatterbox_turbo import models as turbo
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import run_script

VARIANTS = {
    "lora": ("lora", []),
    "lora, gradient checkpointing": ("lora", ["adapter.gradient_checkpointing=true"]),
    "last_n_layers": ("t3", ["strategy=last_n_layers", "strategy.num_layers=2"]),
    "full": ("t3", []),
    "full, gradient checkpointing": ("t3", ["adapter.gradient_checkpointing=true"]),
}
MAX_TOKENS_PER_SEC = 26


@dataclass(frozen=True)
class Model:
    """experiment: how the names of its experiments begin; stock: module and class; overrides: what is its own."""

    write_random_files: Callable[[Path], Path]
    experiment: str
    stock: tuple[str, str]
    overrides: tuple[str, ...] = ()

    def from_local(self) -> str:
        """Python that loads an export with the stock package."""
        module, name = self.stock
        return f"import sys; from {module} import {name}; {name}.from_local(sys.argv[1], 'cpu')"


MODELS = {
    "english": Model(english.write_random_files, "chatterbox", ("chatterbox.tts", "ChatterboxTTS")),
    "multilingual": Model(
        multilingual.write_random_files,
        "chatterbox",
        ("chatterbox.mtl_tts", "ChatterboxMultilingualTTS"),
        ("adapter=chatterbox_multilingual", "adapter.language=en"),
    ),
    "turbo": Model(turbo.write_random_files, "chatterbox_turbo", ("chatterbox.tts_turbo", "ChatterboxTurboTTS")),
}


def main() -> None:
    parser = measuring.parser_of(__doc__)
    measuring.add_training_options(parser, batch_size=1, steps=3)
    parser.add_argument("--model", choices=sorted(MODELS), default="english")
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--clip-sec", type=positive, default=20, help="25 speech tokens a second (default: 20, 500)")
    parser.add_argument("--text-characters", type=positive, default=100, help="about a token each (default: 100)")
    given = parser.parse_args()
    folder = measuring.new_folder(given.output_dir)
    model = MODELS[given.model]
    files = model.write_random_files(folder / "model")
    num_clips = 2 * given.batch_size + 1  # two batches, and one clip to validate
    recordings = join_recordings(folder / "recordings", num_clips, given.clip_sec, given.text_characters)
    common = [
        *model.overrides,
        f"adapter.local_dir={files}",
        f"trainer.max_steps={given.steps}",
        "trainer.accumulate_grad_batches=1",
        "checkpoint.keep=1",
        *measuring.training_overrides(given, recordings, MAX_TOKENS_PER_SEC * given.clip_sec),
    ]
    results: dict[str, Any] = {
        "model": given.model,
        "machine": measuring.machine(given.device),
        "batch": {"rows": given.batch_size, "clip_sec": given.clip_sec, "steps": given.steps},
        "variants": {},
    }
    for name in given.variants:
        experiment, overrides = VARIANTS[name]
        own = [f"experiment={model.experiment}_{experiment}", *overrides, *common]
        results["variants"][name] = rehearse(own, folder, model)
        print(json.dumps({name: results["variants"][name]}, indent=2), flush=True)
        write_text(folder / "chatterbox_size.json", json.dumps(results, indent=2) + "\n")
    print(f"wrote {folder / 'chatterbox_size.json'}")


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


def rehearse(overrides: list[str], folder: Path, model: Model) -> dict[str, Any]:
    """Train and export by the whole command, load the export with the stock package; then make room."""
    run = folder / "run"
    trained, _ = measure_command(measuring.train_command(*overrides, f"output_dir={run}"))
    loaded, _ = measure_command([sys.executable, "-c", model.from_local(), str(run / "export")], folder)
    _, figures = measuring.run_figures(run)
    shutil.rmtree(run)
    return {**figures, "train": trained, "from_local": loaded}


if __name__ == "__main__":
    run_script(main)
