"""Both systems tuned on one folder: same data, same split, both exports and samples, one table of what it cost.

Any folder of recordings and any models: overrides behind `--` go to every run, those of one system to its option.
Residuals are each system's own (squared velocity, nats a token) and do not compare between systems. Nor does the MCD,
which is therefore left out: systems of other sample rates and noise have other distances at the same sound.

    python -m benchmarks.compare_systems --output-dir comparison
    python -m benchmarks.compare_systems --output-dir mine --data-path my_recordings \\
        --pocket-tts adapter=pocket_tts --chatterbox adapter=chatterbox -- trainer.max_steps=1000
"""

import json
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import size_mb
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import UserError, run_script

POCKET_TTS = {"head_only": "experiment=head_only", "lora": "experiment=lora"}
CHATTERBOX = {"t3": "experiment=chatterbox_t3", "lora": "experiment=chatterbox_lora"}


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--output-dir", type=Path, required=True, help="an empty or new folder for the runs")
    parser.add_argument("--data-path", default=str(ASSETS / "demo_voice" / "train"))
    parser.add_argument("--pocket-tts", nargs="+", default=["adapter=nano"], help="overrides of its runs")
    parser.add_argument("--chatterbox", nargs="+", default=["adapter=chatterbox_tiny"], help="overrides of its runs")
    parser.add_argument("common", nargs="*", help="overrides of all runs")
    given = parser.parse_args()
    folder = measuring.new_folder(given.output_dir)
    common = [f"data.path={given.data_path}", f"data.cache_dir={folder / 'cache'}", "evaluation.every_n_steps=null"]
    runs: dict[str, dict[str, Any]] = {}
    for system, experiments, own in (
        ("pocket_tts", POCKET_TTS, given.pocket_tts),
        ("chatterbox", CHATTERBOX, given.chatterbox),
    ):
        for name, experiment in experiments.items():
            run = folder / f"{system}_{name}"
            command = measuring.train_command(experiment, *common, *given.common, *own, f"output_dir={run}")
            process, _ = measuring.measure_command(command)
            runs[run.name] = {**figures_of(run), "process": process}
            print(json.dumps({run.name: runs[run.name]}), flush=True)
    check_same_data(runs)
    write_text(folder / "comparison.json", json.dumps(runs, indent=2) + "\n")
    table = markdown(runs)
    write_text(folder / "comparison.md", table)
    print(table)


def figures_of(folder: Path) -> dict[str, Any]:
    """What a run's own files say; figures of speech are missing where nothing was said."""
    run, cost = measuring.run_figures(folder)
    record, systems = run.record, {name: run.result.systems.get(name) for name in ("base", "tuned")}
    return {
        "data": [record["data_fingerprint"], record["validation_fingerprint"]],
        "clips": [record["num_train_clips"], record["num_validation_clips"]],
        "residual": run.residuals["validation residual"],
        "sentence_identified": {name: each.mean("sentence_identified") for name, each in systems.items() if each},
        "counts": {name: each.counts for name, each in systems.items() if each},
        "num_parameters": record["num_parameters"],
        "export_mb": size_mb(folder / "export"),
        "num_samples": len(list((folder / "samples").glob("tuned_*.wav"))),
        **cost,
    }


def check_same_data(runs: dict[str, dict[str, Any]]) -> None:
    """Raises UserError where a system left out clips that another trained on, so that nothing compares."""
    if len({tuple(run["data"]) for run in runs.values()}) > 1:
        clips = {name: run["clips"] for name, run in runs.items()}
        raise UserError(
            f"The systems did not train on the same clips (training and validation: {clips}): see each run's "
            "excluded.jsonl and take those clips out of the folder."
        )


def markdown(runs: dict[str, dict[str, Any]]) -> str:
    """One table, a column a run."""

    def change(values: dict[str, float | None]) -> str:
        base, tuned = ("n/a" if (value := values.get(name)) is None else f"{value:.3f}" for name in ("base", "tuned"))
        return f"{base} to {tuned}"

    def runaways(counts: dict[str, dict[str, int]]) -> str:
        tuned = counts.get("tuned")
        return "n/a" if tuned is None else f"{tuned['runaway']} of {tuned['utterances']}"

    rows: list[tuple[str, Any]] = [
        ("validation residual, base to tuned (each system's own)", lambda run: change(run["residual"])),
        ("sentence identified, base to tuned", lambda run: change(run["sentence_identified"])),
        ("did not end, tuned", lambda run: runaways(run["counts"])),
        ("parameters", lambda run: f"{run['num_parameters'] / 1e6:.2f}M"),
        ("trained", lambda run: f"{run['num_trained_parameters'] / 1e6:.2f}M"),
        ("checkpoint, MB", lambda run: run["checkpoint_mb"]),
        ("export, MB", lambda run: run["export_mb"]),
        ("step, s", lambda run: run["logged"].get("train/step_sec", "n/a")),
        ("x real time", lambda run: run["logged"].get("train/x_real_time", "n/a")),
        ("peak memory, MB", lambda run: run["process"]["peak_rss_mb"]),
        ("whole run, s", lambda run: run["process"]["sec"]),
    ]
    lines = [f"| | {' | '.join(runs)} |", f"|---|{'---|' * len(runs)}"]
    lines += [f"| {title} | {' | '.join(str(shown(run)) for run in runs.values())} |" for title, shown in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_script(main)
