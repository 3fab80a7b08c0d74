"""Compare runs, of any strategy and system, in one HTML page with tables, curves, players and spectrograms."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from calm_ft.errors import UserError, run_script
from calm_ft.report.page.compare import NUM_SENTENCES, check_output, compare_runs
from calm_ft.report.page.sweep_runs import runs_of_sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--sweep", type=Path, help="a sweep's folder (its output_dir): all its jobs")
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="mark differences to this run (default: to the base)"
    )
    parser.add_argument("--evaluate", action="store_true", help="first evaluate the runs that were not evaluated yet")
    parser.add_argument("--output", type=Path, default=Path("comparison.html"), help="the page to write")
    parser.add_argument("--sentences", type=int, default=NUM_SENTENCES, help="how many sentences have players")
    arguments = parser.parse_args()
    check_output(arguments.output, arguments.sentences)
    runs, left_out = ([], []) if arguments.sweep is None else runs_of_sweep(arguments.sweep)
    runs = [*arguments.runs, *runs]
    if arguments.against is not None and not any(arguments.against.resolve() == run.resolve() for run in runs):
        runs = [arguments.against, *runs]
    if arguments.evaluate:
        try:
            evaluate_missing(runs)
        except KeyboardInterrupt:
            print("interrupted; what was spoken is kept, and the same command goes on from there")
            return
    compared = compare_runs(runs, arguments.output, arguments.sentences, arguments.against, left_out)
    for notice in compared.notices:
        print(notice)
    for run in compared.not_evaluated:
        print(f"evaluate it: python scripts/evaluate.py {shlex.quote(str(run))}")
    print(f"wrote {compared.path}: {compared.num_bytes / 1e6:.2f} MB")


def evaluate_missing(runs: Sequence[Path]) -> None:
    """Evaluate, with the defaults of scripts/evaluate.py, what has no evaluation; one that cannot be is said."""
    is_done = {run: (run / "evaluation" / "summary.json").is_file() for run in runs if (run / "run.json").is_file()}
    missing = [str(run) for run, done in is_done.items() if not done]
    if not missing:
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from calm_ft.evaluating.evaluate import EvaluationRequest, evaluate_each  # the models, which nothing else needs

    others = [run / "evaluation" for run, done in is_done.items() if done]
    results = evaluate_each(missing, EvaluationRequest(), others)
    for run, result in tqdm(results, total=len(missing), desc="evaluating runs", unit="run"):
        if isinstance(result, UserError):
            print(f"{run} was not evaluated: {result}", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
