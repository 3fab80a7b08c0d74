"""The study of papers/strategies_study.md: three strategies, replay, two rates, three seeds, on voices never heard.

python benchmarks/strategies_study.py run --voice annie --output-dir study
python benchmarks/strategies_study.py table study
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import soundfile
import yaml

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "calm_ft" / "assets"
VOICES = {"annie": "Annie", "f5": "f5"}
RATES = {"head_only": "3e-4,1e-3", "last_n_layers": "2e-4,6e-4", "full": "1e-4,3e-4"}
NUM_STEPS = 200
NUM_JUDGING_CLIPS = 6
BASE_VOICE = "belinda"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="36 runs of one voice; finished ones are not repeated")
    running.add_argument("--voice", choices=VOICES, required=True)
    running.add_argument("--output-dir", type=Path, required=True)
    running.set_defaults(call=lambda given: run(given.voice, given.output_dir.absolute()))
    showing = commands.add_parser("table", help="the tables of what has finished")
    showing.add_argument("output_dir", type=Path)
    showing.set_defaults(call=lambda given: print(tables(given.output_dir)))
    given = parser.parse_args()
    given.call(given)


def run(voice: str, output_dir: Path) -> None:
    """One sweep a strategy."""
    data, judging = recordings(voice, output_dir / "data" / voice)
    for strategy, rates in RATES.items():
        command = [sys.executable, "scripts/train.py", "-m", "experiment=demo", f"strategy={strategy}", "logger=csv"]
        command += [f"output_dir={output_dir / voice / strategy}", "resume=true", "export.which=last"]
        command += [f"data.path={data / 'train'}", f"data.cache_dir={output_dir / 'cache'}"]
        command += [f"evaluation.heldout_path={data / 'heldout'}", f"evaluation.voices_path={judging}"]
        command += [f"trainer.max_steps={NUM_STEPS}", "trainer.val_check_interval=50", "trainer.accelerator=cpu"]
        command += ["evaluation.every_n_steps=null", "data=recordings,replay", f"optimizer.lr={rates}", "seed=0,1,2"]
        subprocess.run(command, cwd=ROOT, check=True)


def recordings(voice: str, directory: Path) -> tuple[Path, Path]:
    """The voice's recordings, and ten other voices to be taken for."""
    judging = ASSETS / "judging_voices"
    if voice == "annie":
        return ASSETS / "demo_voice", judging
    from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize

    others = directory / "others"
    if not (directory / "complete").is_file():
        shutil.rmtree(directory, ignore_errors=True)
        for part in ("train", "heldout"):
            (directory / part).mkdir(parents=True)
            for text in sorted((ASSETS / "demo_voice" / part).glob("*.txt")):
                samples = synthesize(text.read_text(encoding="utf-8").strip(), EspeakVoice(voice, VOICES[voice]))
                soundfile.write(directory / part / f"{text.stem}.flac", samples, SAMPLE_RATE_HZ)
                shutil.copy(text, directory / part)
        shutil.copytree(judging, others, ignore=shutil.ignore_patterns(voice))
        (others / "annie").mkdir()
        for path in sorted((ASSETS / "demo_voice" / "heldout").glob("*"))[: 2 * NUM_JUDGING_CLIPS]:
            shutil.copy(path, others / "annie")
        (directory / "complete").touch()
    return directory, others


# What has a standard error over sentences: column -> (whose speech, measure).
JUDGED = {
    "MCD": ("tuned voice", "mcd_db"),
    "sentence": ("tuned voice", "sentence_id"),
    "voice": ("tuned voice", "voice_id"),
    "base MCD": (BASE_VOICE, "mcd_db"),
    "base sentence": (BASE_VOICE, "sentence_id"),
    "base voice": (BASE_VOICE, "voice_id"),
}
COLUMNS = ("residual", "base voices", "MCD", "sentence", "voice", "base MCD", "base sentence", "base voice")


def figures_of(run_dir: Path, system: str) -> dict[str, float]:
    """One row of figures of a finished run; system is "base" or "tuned"."""
    figures = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["figures"]
    own, other = (figures["scores"][f"{system}, {voice}"] for voice in ("tuned voice", BASE_VOICE))
    measures = ("mcd_db", "sentence_id", "voice_id")
    values = [
        figures["extra"]["validation residual"][f"{system}, tuned voice"],
        figures["extra"]["base voices residual"][f"{system}, tuned voice"],
        *(own[name]["mean"] for name in measures),
        *(other[name]["mean"] for name in measures),
    ]
    return dict(zip(COLUMNS, values, strict=True))


def finished_runs(directory: Path) -> Iterator[tuple[tuple[str, float, str], Path]]:
    """((strategy, rate, replay), folder) of every finished run of a voice."""
    for path in sorted(directory.glob("*/run.json")):
        if json.loads(path.read_text(encoding="utf-8"))["status"] == "finished":
            config: dict[str, Any] = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
            replay = "replay" if config["data"]["sources"] else "-"
            yield (path.parent.name.rpartition("-")[0], config["optimizer"]["lr"], replay), path.parent


def tables(output_dir: Path) -> str:
    """A markdown table a voice: mean over seeds and, in brackets, the runs' range."""
    lines: list[str] = []
    for voice in VOICES:
        by_setting: defaultdict[tuple[str, float, str], list[dict[str, float]]] = defaultdict(list)
        base = []
        for setting, folder in finished_runs(output_dir / voice):
            by_setting[setting].append(figures_of(folder, "tuned"))
            base.append(figures_of(folder, "base"))
        if not base:
            continue
        lines += [f"\n### {voice} ({len(base)} runs)\n", f"| | {' | '.join(COLUMNS)} |", "|---" * 9 + "|"]
        lines.append(_row("base", base))
        order = sorted(by_setting, key=lambda each: (list(RATES).index(each[0]), each[2], each[1]))
        lines += [_row(f"{name}, {rate:g}, {replay}", by_setting[name, rate, replay]) for name, rate, replay in order]
        lines += ["", *differences(output_dir / voice)]
    return "\n".join(lines)


def differences(directory: Path) -> list[str]:
    """By the protocol's reading: what each setting changed, and what replay changed of it; `=` where nothing counts."""
    runs = defaultdict(list)
    for setting, folder in finished_runs(directory):
        runs[setting].append(folder)
    lines = [f"| what counts | {' | '.join(JUDGED)} |", "|---" * (1 + len(JUDGED)) + "|"]
    for (name, rate, replay), folders in sorted(runs.items(), key=lambda item: (item[0][2], str(item[0]))):
        pairs = [(estimates(each, "base"), estimates(each, "tuned")) for each in folders]
        lines.append(f"| {name}, {rate:g}, {replay}: against base | {' | '.join(_counts(pairs))} |")
    for (name, rate, replay), folders in sorted(runs.items(), key=str):
        without = runs.get((name, rate, "-"), [])
        if replay == "replay" and len(without) == len(folders):
            pairs = [(estimates(a, "tuned"), estimates(b, "tuned")) for a, b in zip(without, folders, strict=True)]
            lines.append(f"| {name}, {rate:g}: replay against none | {' | '.join(_counts(pairs))} |")
    return lines


Estimates = dict[str, tuple[float, float]]


def estimates(run_dir: Path, system: str) -> Estimates:
    """(mean, standard error over sentences) of each judged column."""
    scores = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["figures"]["scores"]
    found = {column: scores[f"{system}, {voice}"][measure] for column, (voice, measure) in JUDGED.items()}
    return {column: (each["mean"], each["standard_error"]) for column, each in found.items()}


def _counts(pairs: list[tuple[Estimates, Estimates]]) -> list[str]:
    """The mean difference where it counts: one sign in all seeds, and more than two standard errors over sentences."""
    cells = []
    for column in JUDGED:
        changes = [after[column][0] - before[column][0] for before, after in pairs]
        error = mean(math.hypot(before[column][1], after[column][1]) for before, after in pairs)
        one_sign = all(each > 0 for each in changes) or all(each < 0 for each in changes)
        cells.append(f"{mean(changes):+.2f}" if one_sign and abs(mean(changes)) > 2 * error else "=")
    return cells


def _row(name: str, runs: list[dict[str, float]]) -> str:
    cells = []
    for column in COLUMNS:
        values = [each[column] for each in runs]
        cells.append(f"{mean(values):.2f} ({min(values):.2f}..{max(values):.2f})")
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
