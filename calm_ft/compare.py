"""Compare runs, of any strategy and system, in one HTML page with tables, curves, players and spectrograms."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from calm_ft.commands import command_line, quick_imports, words_of
from calm_ft.errors import UserError, run_script


def main() -> None:
    arguments = read_arguments()
    with quick_imports():  # late: --help answers at once
        from calm_ft.report.page.compare import NUM_SENTENCES, check_output, compare_runs
        from calm_ft.report.page.sweep_runs import runs_of_sweep

    num_sentences = NUM_SENTENCES if arguments.sentences is None else arguments.sentences
    check_output(arguments.output, num_sentences)
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
    compared = compare_runs(runs, arguments.output, num_sentences, arguments.against, left_out)
    for notice in compared.notices:
        print(notice)
    for run in compared.not_evaluated:
        print(f"evaluate it: {command_line('evaluate', [run])}")
    print(f"wrote {compared.path}: {compared.num_bytes / 1e6:.2f} MB")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=" ".join(words_of("compare")), description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--sweep", type=Path, help="the folder of a sweep (its output_dir): all its runs")
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="mark differences from this run (default: from the base model)"
    )
    parser.add_argument("--evaluate", action="store_true", help="first evaluate the runs that have no evaluation yet")
    parser.add_argument("--output", type=Path, default=Path("comparison.html"), help="the page to write")
    parser.add_argument("--sentences", type=int, help="how many sentences have players")
    return parser.parse_args()


def evaluate_missing(runs: Sequence[Path]) -> None:
    """Evaluate the runs that have no evaluation, with the defaults of the command `evaluate`.

    A run that cannot be evaluated is named with the reason and ends no other.
    """
    is_done = {run: (run / "evaluation" / "summary.json").is_file() for run in runs if (run / "run.json").is_file()}
    missing = [str(run) for run, done in is_done.items() if not done]
    if not missing:
        return
    with quick_imports():
        from calm_ft.runs.evaluate import EvaluationRequest, evaluate_each  # late: the models, for this alone

    others = [run / "evaluation" for run, done in is_done.items() if done]
    results = evaluate_each(missing, EvaluationRequest(), others)
    for run, result in tqdm(results, total=len(missing), desc="evaluating runs", unit="run"):
        if isinstance(result, UserError):
            print(f"{run} was not evaluated: {result}", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
