"""What the studies on the embedded model share: sweeps that go on where they stopped, and runs' figures with errors.

A difference counts where it has the same sign in all seeds and exceeds twice its standard error over sentences.
"""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.measuring import ROOT, parser_of
from calm_ft.config import ASSETS
from calm_ft.report.result import SystemSummary
from calm_ft.report.runs import Run, read_runs

NUM_STEPS = 200
NUM_SEEDS = 3
BASE_VOICE = "belinda"
JUDGING_VOICES = ASSETS / "judging_voices"
NUM_BASE_SENTENCES = 24
SEEDS = f"seed={','.join(map(str, range(NUM_SEEDS)))}"
STANDARD_ERRORS_OF_AN_INTERVAL = 2 * 1.96
SPOKEN = {  # column -> (whether on the tuned voice, figure); sentences are identified in base voices by old runs alone
    "MCD": (True, "mcd_db"),
    "CER": (True, "cer"),
    "sentence": (True, "sentence_identified"),
    "voice": (True, "voice_identified"),
    "base MCD": (False, "mcd_db"),
    "base sentence": (False, "sentence_identified"),
    "base CER": (False, "cer"),
    "base voice": (False, "voice_identified"),
}
RESIDUALS = {"residual": "validation residual", "base voices": "base voices residual"}


@dataclass(frozen=True)
class Sweep:
    """Its jobs are the runs `name-0`, `name-1`, ...; an override with several values makes as many jobs."""

    name: str
    overrides: Sequence[str]


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error over sentences, both NaN where there is none."""

    mean: float = math.nan
    error: float = math.nan


Figures = Mapping[str, Estimate]
"""Column -> estimate; residuals have no error."""


def run_or_table(description: str | None, run: Callable[[Path], None], table: Callable[[Path], str]) -> None:
    """The command line of a study: `run --output-dir DIR` and `table DIR`."""
    parser = parser_of(description)
    commands = parser.add_subparsers(required=True, metavar="run|table")
    running = commands.add_parser("run", help="all runs; finished ones are not repeated")
    running.add_argument("--output-dir", type=Path, required=True)
    running.set_defaults(call=lambda given: run(given.output_dir.absolute()))
    showing = commands.add_parser("table", help="the table of the runs that are finished")
    showing.add_argument("output_dir", type=Path)
    showing.set_defaults(call=lambda given: print(table(given.output_dir)))
    given = parser.parse_args()
    given.call(given)


def train(sweeps: Iterable[Sweep], runs: Path, cache: Path) -> None:
    """Train all jobs by the whole command on a CPU; the last weights are exported and evaluated."""
    run_side_by_side(training_commands(sweeps, runs, cache))


def training_commands(sweeps: Iterable[Sweep], runs: Path, cache: Path) -> list[Sequence[str]]:
    """One command a sweep. It goes on where it was interrupted."""
    common = ["calm_ft.train", "-m", *overrides_of_all(cache), "resume=true"]
    return [[*common, f"output_dir={runs / each.name}", *each.overrides] for each in sweeps]


def run_side_by_side(commands: Iterable[Sequence[str]], num_processes: int = 1) -> None:
    """Run Python modules with their arguments, so many at once.

    Raises CalledProcessError for the first that failed, when all others have been run.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ} if num_processes > 1 else None

    def run(command: Sequence[str]) -> None:
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True)

    with ThreadPoolExecutor(num_processes) as pool:
        for each in [pool.submit(run, command) for command in commands]:
            each.result()


def overrides_of_all(cache: Path) -> list[str]:
    """What all runs of all studies have in common."""
    return [
        "logger=csv",
        "trainer.accelerator=cpu",
        f"trainer.max_steps={NUM_STEPS}",
        "trainer.val_check_interval=50",
        "export.which=last",
        "evaluation.every_n_steps=null",
        f"data.cache_dir={cache}",
    ]


def judged_on(folder: Path, judged: Path, others: Mapping[str, Path]) -> list[str]:
    """Overrides with which runs speak in one base voice, and others are there to be taken for.

    The voices are copied into `folder`. Runs speak in the first ones by name, hence the number before the judged one.
    """
    copied_voices(folder, {f"0-{judged.name}": judged, **others})
    return [
        f"evaluation.base_voices={folder}",
        f"evaluation.base_sentences={NUM_BASE_SENTENCES}",
        "evaluation.max_base_voices=1",
    ]


def copied_voices(folder: Path, voices: Mapping[str, Path]) -> Path:
    """The voices side by side in a folder, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, source in voices.items():
        shutil.copytree(source, folder / name)
    return folder


def shipped_judging_voices(*without: str) -> dict[str, Path]:
    """Name -> folder."""
    return {each.name: each for each in sorted(JUDGING_VOICES.iterdir()) if each.name not in without}


def finished_runs(runs: Path, pattern: str = "*") -> list[Run]:
    """The finished runs in a folder by rising seed, of this version or of earlier ones.

    Raises UserError where a file of a run is damaged.
    """
    folders = [each.parent for each in sorted(runs.glob(f"{pattern}/run.json"))]
    runs_read = read_runs(folders) if folders else []
    return sorted(
        (run for run in runs_read if run.record.get("status") == "finished"), key=lambda run: run.config["seed"]
    )


def figures_of(run: Run, system: str, base_voice: str = BASE_VOICE) -> Figures:
    """All columns of "base" or "tuned"; runs of earlier versions have the base voice as a system of its own."""
    nothing = SystemSummary(metrics={}, counts={})
    own = run.result.systems.get(system, nothing)
    other = run.result.base_voices.systems.get(system) or run.result.systems.get(f"{system}, {base_voice}", nothing)
    residuals = {
        column: Estimate(run.residuals.get(row, {}).get(system, math.nan)) for column, row in RESIDUALS.items()
    }
    return {**residuals, **{name: _estimate(own if tuned else other, each) for name, (tuned, each) in SPOKEN.items()}}


def _estimate(system: SystemSummary, name: str) -> Estimate:
    figure = system.metrics.get(name)
    if figure is None or figure.mean is None:
        return Estimate()
    if figure.low is None or figure.high is None:
        return Estimate(figure.mean)
    return Estimate(figure.mean, (figure.high - figure.low) / STANDARD_ERRORS_OF_AN_INTERVAL)


def change_that_counts(pairs: Sequence[tuple[Figures, Figures]], column: str) -> float | None:
    """The mean change from the first to the second figures of each seed; None where it does not count."""
    changes = [after[column].mean - before[column].mean for before, after in pairs]
    error = mean(math.hypot(before[column].error, after[column].error) for before, after in pairs)
    one_sign = all(each > 0 for each in changes) or all(each < 0 for each in changes)
    return mean(changes) if one_sign and abs(mean(changes)) > 2 * error else None


def measured_columns(figures: Iterable[Figures], columns: Iterable[str]) -> list[str]:
    """The columns that hold a number in some row."""
    rows = list(figures)
    return [name for name in columns if any(not math.isnan(row[name].mean) for row in rows)]


def mean_and_range(values: Sequence[float], digits: int = 2) -> str:
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"
