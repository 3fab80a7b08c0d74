"""How large a LoRA update must be to be heard: runs over rates, ranks and seeds, their ratio and judged figures.

python -m benchmarks.lora_update_ratio run --output-dir study
python -m benchmarks.lora_update_ratio table study --write benchmarks/results/lora_update_ratio.json
"""

import argparse
import json
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from benchmarks.strategies_study import estimates, figures_of

ROOT = Path(__file__).parents[1]
NUM_STEPS = 200
SWEEPS = {  # name -> rank, rates, seeds; the last two were added to find where nothing is heard any more
    "rank32": (32, "1e-5,3e-5,1e-4,3e-4,1e-3,3e-3", "0,1"),
    "rank4": (4, "1e-4,1e-3,1e-2", "0"),
    "rank32_low": (32, "1e-6,3e-6", "0,1,2"),
    "rank32_third_seed": (32, "1e-5,3e-5,1e-4", "2"),
}
HEARD = ("MCD", "voice")
COLUMNS = ("residual", "base voices", "MCD", "sentence", "voice", "base voice")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="24 runs of about a minute; finished ones are not repeated")
    running.add_argument("--output-dir", type=Path, required=True)
    running.set_defaults(call=lambda given: run(given.output_dir.absolute()))
    showing = commands.add_parser("table", help="what has finished, by rank and rate")
    showing.add_argument("output_dir", type=Path)
    showing.add_argument("--write", type=Path, help="a JSON file, which holds every run too")
    showing.set_defaults(call=lambda given: show(runs(given.output_dir), given.write))
    given = parser.parse_args()
    given.call(given)


def run(output_dir: Path) -> None:
    """The sweeps, on the embedded model and the demo's voice; the last weights are judged, averaged."""
    for name, (rank, rates, seeds) in SWEEPS.items():
        command = [sys.executable, "scripts/train.py", "-m", "experiment=lora", "evaluation=demo", "logger=csv"]
        command += [f"output_dir={output_dir / name}", "resume=true", "export.which=last"]
        command += ["evaluation.every_n_steps=null"]
        command += [f"trainer.max_steps={NUM_STEPS}", "trainer.accelerator=cpu", f"strategy.rank={rank}"]
        command += [f"strategy.alpha={2 * rank}", f"seed={seeds}", f"optimizer.lr={rates}"]
        subprocess.run(command, cwd=ROOT, check=True)


def runs(output_dir: Path) -> list[dict[str, Any]]:
    """Every finished run: settings, ratio, figures of base and tuned model, and what changed (`changes`)."""
    found = []
    for path in output_dir.glob("*/run.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["status"] == "finished":
            config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
            row = {"rank": config["strategy"]["rank"], "lr": config["optimizer"]["lr"], "seed": config["seed"]}
            base, tuned = (figures_of(path.parent, system) for system in ("base", "tuned"))
            ratio = content["learned"]["lora_update_ratio"]
            found.append({**row, "ratio": ratio, "base": base, "tuned": tuned, "changes": changes(path.parent)})
    return sorted(found, key=lambda row: row["ratio"])


def changes(run_dir: Path) -> dict[str, tuple[float, float]]:
    """(change, standard error over sentences) of the tuned voice's figures."""
    before, after = (estimates(run_dir, system) for system in ("base", "tuned"))
    return {name: (after[name][0] - before[name][0], math.hypot(before[name][1], after[name][1])) for name in HEARD}


def by_rate(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds by rank and rate, and what changed beyond doubt.

    By the study's rule (papers/strategies_study.md): one sign in all seeds, and more than two standard errors.
    """
    groups = defaultdict(list)
    for row in found:
        groups[row["rank"], row["lr"]].append(row)
    table = []
    for (rank, lr), rows in groups.items():
        figures = {name: mean(row["tuned"][name] for row in rows) for name in COLUMNS}
        heard = [name for name in HEARD if _beyond_doubt([row["changes"][name] for row in rows])]
        ratio = mean(row["ratio"] for row in rows)
        table.append({"rank": rank, "lr": lr, "num_seeds": len(rows), "ratio": ratio, **figures, "changed": heard})
    return sorted(table, key=lambda row: row["ratio"])


def _beyond_doubt(pairs: list[tuple[float, float]]) -> bool:
    one_sign = all(change > 0 for change, _ in pairs) or all(change < 0 for change, _ in pairs)
    return one_sign and abs(mean(change for change, _ in pairs)) > 2 * mean(error for _, error in pairs)


def show(found: list[dict[str, Any]], write: Path | None) -> None:
    """Print the table by rate; write it with every run."""
    table = by_rate(found)
    base = {name: mean(row["base"][name] for row in found) for name in COLUMNS}
    print(f"| rank | lr | seeds | ratio | {' | '.join(COLUMNS)} | changed beyond doubt |\n{'|---' * 11}|")
    print(f"| base | | | 0 | {' | '.join(f'{value:.2f}' for value in base.values())} | |")
    for row in table:
        cells = " | ".join(f"{row[name]:.2f}" for name in COLUMNS)
        changed = ", ".join(row["changed"]) or "-"
        print(f"| {row['rank']} | {row['lr']:g} | {row['num_seeds']} | {row['ratio']:.4f} | {cells} | {changed} |")
    if write is not None:
        about = f"embedded model, demo voice, {NUM_STEPS} steps, alpha = 2 rank, CPU, the last averaged weights"
        command = "python -m benchmarks.lora_update_ratio run --output-dir study"
        content = {"command": command, "about": about, "base": base, "by_rate": table, "runs": found}
        write.write_text(json.dumps(_rounded(content), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
