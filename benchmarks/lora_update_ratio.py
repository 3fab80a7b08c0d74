"""How large a LoRA update must be to be heard: 24 runs over rates, ranks and seeds, their ratio and judged figures.

python -m benchmarks.lora_update_ratio run --output-dir study
python -m benchmarks.lora_update_ratio table study           # also writes study/lora_update_ratio.json
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import studies
from benchmarks.studies import BASE_VOICE, NUM_STEPS, Figures, Sweep, change_that_counts, figures_of
from calm_ft.atomic_file import write_text
from calm_ft.errors import run_script

SWEEPS = {  # name -> rank, rates, seeds; the last two were added to find where nothing is heard any more
    "rank32": (32, "1e-5,3e-5,1e-4,3e-4,1e-3,3e-3", "0,1"),
    "rank4": (4, "1e-4,1e-3,1e-2", "0"),
    "rank32_low": (32, "1e-6,3e-6", "0,1,2"),
    "rank32_third_seed": (32, "1e-5,3e-5,1e-4", "2"),
}
HEARD = ("MCD", "voice")
COLUMNS = ("residual", "base voices", "MCD", "sentence", "voice", "base voice")


@dataclass(frozen=True)
class LoraRun:
    """A finished run: its settings, the ratio of updates to weights, and both systems' figures."""

    rank: int
    lr: float
    seed: int
    ratio: float
    base: Figures
    tuned: Figures

    def to_json(self) -> dict[str, Any]:
        systems = {"base": means([self.base]), "tuned": means([self.tuned])}
        return {"rank": self.rank, "lr": self.lr, "seed": self.seed, "ratio": self.ratio, **systems}


def main() -> None:
    studies.run_or_table(__doc__, run, table)


def run(output_dir: Path) -> None:
    """The sweeps on the demo's voice, whose last averaged weights are judged."""
    judging = studies.judged_on(
        output_dir / "judging", studies.JUDGING_VOICES / BASE_VOICE, studies.shipped_judging_voices(BASE_VOICE)
    )
    common = ["experiment=lora", "evaluation=demo", *judging]
    sweeps = [
        Sweep(
            name,
            [*common, f"strategy.rank={rank}", f"strategy.alpha={2 * rank}", f"optimizer.lr={rates}", f"seed={seeds}"],
        )
        for name, (rank, rates, seeds) in SWEEPS.items()
    ]
    studies.train(sweeps, output_dir, output_dir / "cache")


def read(output_dir: Path) -> list[LoraRun]:
    """Every finished run, the faintest update first."""
    found = [
        LoraRun(
            rank=each.config["strategy"]["rank"],
            lr=each.config["optimizer"]["lr"],
            seed=each.config["seed"],
            ratio=each.record["learned"]["lora_update_ratio"],
            base=figures_of(each, "base"),
            tuned=figures_of(each, "tuned"),
        )
        for each in studies.finished_runs(output_dir)
    ]
    return sorted(found, key=lambda each: each.ratio)


def by_rate(found: list[LoraRun]) -> list[dict[str, Any]]:
    """Means over seeds by rank and rate, and which of the heard figures changed in a way that counts."""
    groups: defaultdict[tuple[int, float], list[LoraRun]] = defaultdict(list)
    for each in found:
        groups[each.rank, each.lr].append(each)
    rows = []
    for (rank, lr), runs in groups.items():
        pairs = [(each.base, each.tuned) for each in runs]
        changed = [name for name in HEARD if change_that_counts(pairs, name) is not None]
        ratio = mean(each.ratio for each in runs)
        figures = means([each.tuned for each in runs])
        rows.append({"rank": rank, "lr": lr, "num_seeds": len(runs), "ratio": ratio, **figures, "changed": changed})
    return sorted(rows, key=lambda row: row["ratio"])


def means(figures: list[Figures]) -> dict[str, float | None]:
    """Column -> mean over runs, None where it was not measured."""
    found = {name: mean(each[name].mean for each in figures) for name in COLUMNS}
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def table(output_dir: Path) -> str:
    """The table by rate, which is also written as JSON with every run."""
    found = read(output_dir)
    if not found:
        return "no run is finished"
    rows, base = by_rate(found), means([each.base for each in found])
    about = f"embedded model, demo voice, {NUM_STEPS} steps, alpha = 2 rank, CPU, the last averaged weights"
    content = {"about": about, "base": base, "by_rate": rows, "runs": [each.to_json() for each in found]}
    write_text(output_dir / "lora_update_ratio.json", json.dumps(_rounded(content), indent=1) + "\n")
    lines = [f"| rank | lr | seeds | ratio | {' | '.join(COLUMNS)} | changed beyond doubt |", "|---" * 11 + "|"]
    lines.append(f"| base | | | 0 | {_cells(base)} | |")
    for row in rows:
        settings = f"{row['rank']} | {row['lr']:g} | {row['num_seeds']} | {row['ratio']:.4f}"
        lines.append(f"| {settings} | {_cells(row)} | {', '.join(row['changed']) or '-'} |")
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> str:
    return " | ".join("n/a" if row[name] is None else f"{row[name]:.2f}" for name in COLUMNS)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    run_script(main)
