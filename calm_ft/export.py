"""Write a run's model as files that the stock package plays; or move, or publish, an export."""

import argparse
from pathlib import Path

from calm_ft.commands import quick_imports, words_of
from calm_ft.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(prog=" ".join(words_of("export")), description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder (or, for --relocate and --hub, an export's)")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="the checkpoint (default: best)")
    parser.add_argument(
        "--ema", choices=("true", "false"), default="true", help="the averaged weights, or those of the last step"
    )
    parser.add_argument(
        "--dtype",
        choices=("fp32", "bf16", "fp16"),
        help="of the weights; the latter two take half the space (default: the run's export.dtype)",
    )
    parser.add_argument("--output-dir", type=Path, help="where the export goes (default: RUN/export)")
    parser.add_argument("--relocate", action="store_true", help="after a move: write the folder's new place into it")
    parser.add_argument("--hub", metavar="USER/REPO", help="upload the export to the Hugging Face hub, privately")
    arguments = parser.parse_args()
    with quick_imports():
        from calm_ft.runs import export_run, push_export, relocate_export  # late: torch takes seconds, --help none

    if arguments.relocate:
        print(f"relocated {relocate_export(arguments.run)}")
    elif arguments.hub:
        print(f"pushed {push_export(arguments.run, arguments.hub)}")
    else:
        run, which, averaged = arguments.run, arguments.which, arguments.ema == "true"
        print(f"exported {export_run(run, which, averaged, arguments.output_dir, arguments.dtype)}")


if __name__ == "__main__":
    run_script(main)
