"""The study of papers/evaluation_study.md: strategies, replay, schedules and LSD shares, judged by scripts/evaluate.py.

python -m benchmarks.evaluation_study train --output-dir study      # 39 runs; finished ones are not repeated
python -m benchmarks.evaluation_study evaluate --output-dir study   # each of them on 40 held-out sentences
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.nano.asr_corpus import held_out_sentences
from tools.nano.assets import write_voice
from tools.nano.voices import DEMO_VOICE

ROOT = Path(__file__).parents[1]
SEEDS = "0,1,2"
NUM_STEPS = 200
RATES = {"head_only": "1e-3", "last_n_layers": "6e-4", "full": "3e-4", "lora": "1e-3"}
HALF = ["objective=lsd", "objective.flow_weight=0.5", "objective.lsd_weight=0.5", "objective.lsd_fraction=0.5"]


@dataclass(frozen=True)
class Sweep:
    """Three runs, one a seed: `name-0` to `name-2`."""

    name: str
    overrides: tuple[str, ...]


def sweeps() -> Iterator[Sweep]:
    """Strategies by replay, then schedules by LSD share; what both have, head_only on cosine with .25, comes once."""
    for data in ("recordings", "replay"):
        for strategy, rate in RATES.items():
            yield Sweep(f"{strategy}_{data}", (f"strategy={strategy}", f"optimizer.lr={rate}", f"data={data}"))
    shares = {"0": ["objective=flow_matching"], "25": ["objective=lsd"], "50": HALF}
    for schedule in ("cosine", "linear"):
        for share, objective in shares.items():
            if (schedule, share) != ("cosine", "25"):
                settings = ("strategy=head_only", f"optimizer.lr={RATES['head_only']}", f"interpolant={schedule}")
                yield Sweep(f"head_only_{schedule}_lsd_{share}", (*settings, *objective))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, call in {"train": train, "evaluate": evaluate}.items():
        command = commands.add_parser(name)
        command.add_argument("--output-dir", type=Path, required=True)
        command.set_defaults(call=call)
    given = parser.parse_args()
    given.call(given.output_dir.absolute())


def train(output_dir: Path) -> None:
    """All runs; what is finished is not repeated, what was interrupted goes on."""
    for sweep in sweeps():
        command = [sys.executable, "scripts/train.py", "-m", "logger=csv", "resume=true", "trainer.accelerator=cpu"]
        command += [f"output_dir={output_dir / 'runs' / sweep.name}", f"data.cache_dir={output_dir / 'cache'}"]
        command += [f"trainer.max_steps={NUM_STEPS}", "trainer.val_check_interval=50", "export.which=last"]
        command += ["evaluation.num_sentences=0", f"seed={SEEDS}", *sweep.overrides]
        subprocess.run(command, cwd=ROOT, check=True)


def evaluate(output_dir: Path) -> None:
    """All runs on sentences that neither they nor the recogniser have heard; what is done is not repeated."""
    heldout = write_heldout(output_dir / "heldout")
    runs = sorted(str(each.parent) for each in (output_dir / "runs").glob("*/run.json"))
    subprocess.run([sys.executable, "scripts/evaluate.py", *runs, "--heldout-path", str(heldout)], cwd=ROOT, check=True)


def write_heldout(folder: Path) -> Path:
    """The 24 held-out sentences of the demo voice and 16 that no shipped clip says, by the same voice."""
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        write_voice(folder, DEMO_VOICE, held_out_sentences(0)["everyday"])
        (folder / "complete").touch()
    return folder


if __name__ == "__main__":
    main()
