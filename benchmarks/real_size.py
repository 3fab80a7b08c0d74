"""The whole way at the released size: train, resume, export and strict stock loading, with time and memory of each.

The released weights are gated, so a random model of their shape stands in: what is measured is cost, not speech. Each
command runs as a user runs it, in a process of its own. The recordings are the demo voice's shortest.

    python -m benchmarks.real_size --layers 6 --output-dir real_size
    python -m benchmarks.real_size --layers 24 --output-dir real_size_24 --strategies head_only
    python -m benchmarks.real_size --layers 24 --output-dir students --strategies distill_depth teacher_then_student
    python -m benchmarks.real_size --output-dir gpu --device cuda --precision bf16-mixed --batch-size 64 --steps 20
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import soundfile

from benchmarks import measuring
from benchmarks.measuring import measure_command, size_mb
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS, compose_config, experiment_from
from calm_ft.config.overrides import tidy_arguments
from calm_ft.errors import UserError, run_script
from tools.nano.released_shape import RELEASED, write_released_shape

STRATEGIES = ("head_only", "last_n_layers", "full", "lora")
DISTILLED = "distill_depth"
TAUGHT = "teacher_then_student"
"""With the student of DISTILLED, which goes before it, as the earlier student."""
NUM_CLIPS = 8
NUM_RESUMED_STEPS = 1
MAX_FRAMES_PER_CLIP = 100
PROBE = "from benchmarks.real_size import probe; probe()"
STOCK_LOAD = "import sys; from pocket_tts import TTSModel; TTSModel.load_model(config=sys.argv[1])"


def main() -> None:
    parser = measuring.parser_of(__doc__)
    measuring.add_training_options(parser, batch_size=4, steps=2)
    parser.add_argument("--layers", type=int, choices=sorted(RELEASED), default=6)
    parser.add_argument("--strategies", nargs="+", choices=(*STRATEGIES, DISTILLED, TAUGHT), default=STRATEGIES)
    given = parser.parse_args()
    if given.layers == min(RELEASED) and {DISTILLED, TAUGHT} & set(given.strategies):
        raise UserError(f"{DISTILLED} and {TAUGHT} take a teacher with a null branch: add --layers {max(RELEASED)}.")
    if TAUGHT in given.strategies and DISTILLED not in given.strategies[: given.strategies.index(TAUGHT)]:
        raise UserError(f"{TAUGHT} takes the student of {DISTILLED}: name both, {DISTILLED} first.")
    folder = measuring.new_folder(given.output_dir)
    bundle = write_released_shape(folder / "bundle", given.layers)
    recordings = copy_recordings(folder / "recordings", max(NUM_CLIPS, 2 * given.batch_size))
    common = ["adapter=pocket_tts", f"adapter.model={bundle}"]
    common += measuring.training_overrides(given, recordings, MAX_FRAMES_PER_CLIP)
    cost, output = measure_command([sys.executable, "-c", PROBE, "logger=csv", *common])
    results: dict[str, Any] = {
        "machine": measuring.machine(given.device),
        "num_layers": given.layers,
        "weights_mb": size_mb(bundle / "model.safetensors"),
        "preparation": {**json.loads(output.splitlines()[-1]), **cost},
        "strategies": {},
    }
    for strategy in given.strategies:
        results["strategies"][strategy] = rehearse(strategy, common, given.steps, folder)
        print(json.dumps({strategy: results["strategies"][strategy]}, indent=2), flush=True)
        write_text(folder / "real_size.json", json.dumps(results, indent=2) + "\n")
    print(f"wrote {folder / 'real_size.json'}")


def probe() -> None:
    """In a process of its own: load the model and encode the recordings that the overrides in sys.argv name."""
    experiment = experiment_from(compose_config(tidy_arguments(sys.argv[1:])))
    started = time.perf_counter()
    adapter = experiment.adapter_factory()
    loaded = time.perf_counter()
    clips = measuring.encode_folder(Path(experiment.data.path), adapter, experiment.data)
    encode_sec, audio_sec = time.perf_counter() - loaded, sum(clip.duration_sec for clip in clips)
    figures = {"load_sec": loaded - started, "latents_sec": encode_sec, "audio_sec": audio_sec}
    figures["latents_x_real_time"] = audio_sec / encode_sec
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


def copy_recordings(folder: Path, num_clips: int) -> Path:
    """The demo voice's shortest recordings, each as often as it takes; a copy's name and text make it another clip."""
    folder.mkdir(parents=True)
    train = sorted((ASSETS / "demo_voice" / "train").glob("*.ogg"), key=lambda path: soundfile.info(path).frames)
    for number in range(num_clips):
        source = train[number % len(train)]
        shutil.copy(source, folder / f"{number:03d}.ogg")
        shutil.copy(source.with_suffix(".txt"), folder / f"{number:03d}.txt")
    return folder


def rehearse(strategy: str, common: list[str], num_steps: int, folder: Path) -> dict[str, Any]:
    """Train, resume for a step more, export the last checkpoint, load it strictly with the stock package."""
    run, elsewhere = folder / "runs" / strategy, folder / "exports" / strategy
    own = [f"experiment={strategy}"]
    if strategy == TAUGHT:
        own += [f"adapter.student={folder / 'exports' / DISTILLED}", f"teacher.trainer.max_steps={num_steps}"]
    train = measuring.train_command(*own, *common, f"output_dir={run}")
    export = [sys.executable, "-m", "calm_ft.export", str(run), "--which", "last", "--output-dir", str(elsewhere)]
    costs = {
        "train": measure_command([*train, f"trainer.max_steps={num_steps}"]),
        "resume": measure_command([*train, f"trainer.max_steps={num_steps + NUM_RESUMED_STEPS}", "resume=true"]),
        "export": measure_command(export),
        "stock_strict_load": measure_command(
            [sys.executable, "-c", STOCK_LOAD, str(elsewhere / "config.yaml")], folder
        ),
    }
    trained, figures = measuring.run_figures(run)
    return {
        **figures,
        "export_mb": size_mb(elsewhere / "model.safetensors"),
        "resumed_at_steps": trained.record["resumed_at_steps"],
        **{name: cost for name, (cost, _) in costs.items()},
    }


if __name__ == "__main__":
    run_script(main)
