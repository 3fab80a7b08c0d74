"""Evaluate a run, an export, or a run's base: what held-out sentences sound like, in numbers with their uncertainty."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from calm_ft.commands import quick_imports, words_of
from calm_ft.errors import UserError, run_script

if TYPE_CHECKING:
    from calm_ft.runs.evaluate import Evaluation


def main() -> None:
    parser = argparse.ArgumentParser(prog=" ".join(words_of("evaluate")), description=__doc__)
    parser.add_argument(
        "models", nargs="+", metavar="RUN", help="runs' or exports' folders, one after the other, or base with --of RUN"
    )
    parser.add_argument("--of", metavar="RUN", help="the run that an export, or base, belongs to")
    parser.add_argument("--output-dir", type=Path, help="default: RUN/evaluation")
    parser.add_argument("--num-sentences", type=int, default=50, help="at most so many held-out sentences (50)")
    parser.add_argument("--num-seeds", type=int, default=1, help="clips of each sentence, with other noise (1)")
    parser.add_argument(
        "--asr",
        help="the recogniser for WER: a hub model or a folder, faster-whisper:small.en or another of its models or a "
        "folder, moonshine, embedded, or none (default: openai/whisper-base.en; the embedded model: the embedded one)",
    )
    parser.add_argument("--language", help="of the texts, such as de (default: what the model speaks)")
    parser.add_argument("--device", help="where systems speak, such as cpu or cuda (default: a GPU where there is one)")
    parser.add_argument("--force-asr", action="store_true", help="let the embedded recogniser judge another model")
    parser.add_argument(
        "--heldout-path", type=Path, help="recordings with texts (default: those the run was judged by)"
    )
    parser.add_argument(
        "--voice", help="a recording of the voice, or its name in the library (default: the run's own prompt)"
    )
    parser.add_argument(
        "--base-voices",
        type=Path,
        metavar="DIR",
        help="voices that may be forgotten: a folder of recordings with texts for each (default: those of the run)",
    )
    parser.add_argument("--base-sentences", type=int, help="sentences in each of them (4); 0: leave them out")
    parser.add_argument("--max-base-voices", type=int, help="at most so many of them (8)")
    parser.add_argument("--temperature", type=float, help="how it is spoken (default: as in the run, or the model's)")
    parser.add_argument("--num-steps", type=int, help="flow steps (default: as in the run, or the model's)")
    parser.add_argument("--cfg-coef", type=float, help="guidance, 1 is none (default: as in the run, or the model's)")
    parser.add_argument("--quantize", action="store_true", help="let all systems speak with int8 weights, on the CPU")
    arguments = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    with quick_imports():
        from calm_ft.runs.evaluate import EvaluationRequest, evaluate_each  # late: --help answers at once

    models = arguments.pop("models")
    try:
        request = EvaluationRequest(**arguments)
    except UserError as error:  # settings are named as in a configuration, here they are flags
        raise UserError(re.sub(r"^(\w+)=", lambda key: f"--{key[1].replace('_', '-')} ", str(error))) from None
    faults = []
    try:
        for model, result in evaluate_each(models, request):
            if isinstance(result, UserError):
                faults.append(str(result) if len(models) == 1 else f"{model}: {result}")
            else:
                show(result)
    except KeyboardInterrupt:
        print("interrupted; what was spoken is kept, and the same command goes on from there")
        return
    if faults:
        raise UserError(" ".join(faults))


def show(evaluation: "Evaluation") -> None:
    """Print where the files are, the table, and last the warnings."""
    from calm_ft.report.terminal import print_result

    console = Console(width=140, highlight=False)
    console.print(
        f"{evaluation.num_clips} clips in {evaluation.wall_sec:.0f} s; files: {evaluation.folder}", markup=False
    )
    print_result(console, evaluation.result)


if __name__ == "__main__":
    run_script(main)
