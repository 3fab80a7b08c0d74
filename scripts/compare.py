"""Compare runs, of any strategy and system, in one HTML page with tables, curves, players and spectrograms."""

import argparse
from pathlib import Path

from calm_ft.errors import run_script
from calm_ft.evaluation.page.compare import NUM_SENTENCES, compare_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--output", type=Path, default=Path("comparison.html"), help="the page to write")
    parser.add_argument("--sentences", type=int, default=NUM_SENTENCES, help="how many sentences have players")
    arguments = parser.parse_args()
    compared = compare_runs(arguments.runs, arguments.output, arguments.sentences)
    for notice in compared.notices:
        print(notice)
    print(f"wrote {compared.path}: {compared.num_bytes / 1e6:.2f} MB")


if __name__ == "__main__":
    run_script(main)
