"""Both systems tuned on one folder: same data, same split, both exports and samples, one table of what it cost.

Any folder of recordings and any models: overrides behind `--` go to every run, those of one system to its option.
Residuals are each system's own (squared velocity, nats a token) and do not compare between systems. Nor does the
MCD, which is therefore left out: at other sample rates and levels of noise the same distance sounds differently.

    python -m benchmarks.compare_systems --output-dir comparison
    python -m benchmarks.compare_systems --output-dir mine --data-path my_recordings \\
        --pocket-tts adapter=pocket_tts --chatterbox adapter=chatterbox -- trainer.max_steps=1000
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.real_size import LOGGED, ROOT, last_figures, measure_command
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import UserError, run_script

POCKET_TTS = {"head_only": "experiment=head_only", "lora": "experiment=lora"}
CHATTERBOX = {"t3": "experiment=chatterbox_t3", "lora": "experiment=chatterbox_lora"}


def main() -> None:
    arguments = _parse()
    folder = arguments.output_dir.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files: choose an empty or new folder for the comparison.")
    common = [f"data.path={arguments.data_path}", f"data.cache_dir={folder / 'cache'}", "logger=csv"]
    common += ["evaluation.every_n_steps=null", *arguments.common]
    runs: dict[str, dict[str, Any]] = {}
    for system, experiments, own in (
        ("pocket_tts", POCKET_TTS, arguments.pocket_tts),
        ("chatterbox", CHATTERBOX, arguments.chatterbox),
    ):
        for name, experiment in experiments.items():
            run = folder / f"{system}_{name}"
            command = [sys.executable, "scripts/train.py", experiment, *common, *own, f"output_dir={run}"]
            measured = measure_command(command, ROOT)
            runs[run.name] = figures_of(run, measured)
            print(json.dumps({run.name: runs[run.name]}), flush=True)
    _check_same_data(runs)
    write_text(folder / "comparison.json", json.dumps(runs, indent=2) + "\n")
    table = markdown(runs)
    write_text(folder / "comparison.md", table)
    print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True, help="an empty folder for the runs")
    parser.add_argument("--data-path", default=str(ASSETS / "demo_voice" / "train"))
    parser.add_argument("--pocket-tts", nargs="+", default=["adapter=nano"], help="overrides of its runs")
    parser.add_argument("--chatterbox", nargs="+", default=["adapter=chatterbox_tiny"], help="overrides of its runs")
    parser.add_argument("common", nargs="*", help="overrides of all runs")
    return parser.parse_args()


def figures_of(run: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """What a run's own files say, and what its process took."""
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    residuals = facts["figures"]["extra"]["validation residual"]
    scores = {name.partition(",")[0]: values for name, values in facts["figures"]["scores"].items()}
    return {
        "data": [facts["data_fingerprint"], facts["validation_fingerprint"]],
        "clips": [facts["num_train_clips"], facts["num_validation_clips"]],
        "residual": {name.partition(",")[0]: value for name, value in residuals.items()},
        "sentence_id": {name: values["sentence_id"]["mean"] for name, values in scores.items()},
        "not_ended": {name: f"{values['num_not_ended']} of {values['num_clips']}" for name, values in scores.items()},
        "num_parameters": facts["num_parameters"],
        "num_trained_parameters": facts["num_trained_parameters"],
        "checkpoint_mb": _size_mb(run / "checkpoints" / "last.ckpt"),
        "export_mb": round(sum(_size_mb(path) for path in (run / "export").iterdir()), 1),
        "num_samples": len(list((run / "samples").glob("tuned_*.wav"))),
        "training_sec": facts["training_sec"],
        "logged": last_figures(run / "metrics.csv", LOGGED),
        "process": {"sec": measured["sec"], "peak_rss_mb": measured["peak_rss_mb"]},
    }


def _check_same_data(runs: dict[str, dict[str, Any]]) -> None:
    """Raises UserError where a system left out clips that another trained on, so that nothing compares."""
    if len({tuple(run["data"]) for run in runs.values()}) > 1:
        clips = {name: run["clips"] for name, run in runs.items()}
        raise UserError(
            f"The systems did not train on the same clips (training and validation: {clips}): see each run's "
            "excluded.jsonl and take those clips out of the folder."
        )


def markdown(runs: dict[str, dict[str, Any]]) -> str:
    """One table, a column a run."""

    def change(values: dict[str, float]) -> str:
        return f"{values['base']:.3f} to {values['tuned']:.3f}"

    rows: list[tuple[str, Any]] = [
        ("validation residual, base to tuned (each system's own)", lambda run: change(run["residual"])),
        ("sentence identified, base to tuned", lambda run: change(run["sentence_id"])),
        ("not ended by itself, tuned", lambda run: run["not_ended"]["tuned"]),
        ("parameters", lambda run: f"{run['num_parameters'] / 1e6:.2f}M"),
        ("trained", lambda run: f"{run['num_trained_parameters'] / 1e6:.2f}M"),
        ("checkpoint, MB", lambda run: run["checkpoint_mb"]),
        ("export, MB", lambda run: run["export_mb"]),
        ("step, s", lambda run: run["logged"]["train/step_sec"]),
        ("x real time", lambda run: run["logged"]["train/x_real_time"]),
        ("peak memory, MB", lambda run: run["process"]["peak_rss_mb"]),
        ("whole run, s", lambda run: run["process"]["sec"]),
    ]
    lines = [f"| | {' | '.join(runs)} |", f"|---|{'---|' * len(runs)}"]
    lines += [f"| {title} | {' | '.join(str(shown(run)) for run in runs.values())} |" for title, shown in rows]
    return "\n".join(lines) + "\n"


def _size_mb(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 1)


if __name__ == "__main__":
    run_script(main)
