"""Make a dataset that trains well of recordings as they are: split, transcribed where needed, checked, and shown."""

import argparse
import signal
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from calm_ft.commands import command_line, quick_imports, words_of
from calm_ft.errors import UserError, run_script

if TYPE_CHECKING:
    from calm_ft.preparation.clips import Problem
    from calm_ft.preparation.pipeline import Request, Summary

SEVERITY_WORDS = {"note": "note", "warning": "warning", "error": "LEFT OUT"}


def main() -> None:
    arguments = parser().parse_args()
    request = request_of(arguments)
    with quick_imports():
        from calm_ft.preparation.pipeline import prepare  # late: torch takes seconds, --help none

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a cluster sends ends as Ctrl-C does
    try:
        summary = prepare(request)
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, and the same command goes on from there")
        raise SystemExit(130) from None
    show(summary, request)
    if arguments.serve:
        from calm_ft.preparation.serve import serve

        serve(request.dataset, arguments.port)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog=" ".join(words_of("prepare")), description=__doc__)
    parser.add_argument("recordings", type=Path, metavar="RECORDINGS", help="a folder, or the table that lists them")
    parser.add_argument(
        "--output-dir", type=Path, required=True, metavar="DATASET", help="a new folder, or one made by this command"
    )
    parser.add_argument(
        "--language", help="of the texts of which the list names none, such as de (default: found from them)"
    )
    parser.add_argument(
        "--transcribe",
        default="auto",
        metavar="HOW",
        help="what writes down recordings without text: faster-whisper:SIZE or :FOLDER, moonshine (English), "
        "pocketsphinx (English, weak), none, or auto, the best that can be had (default)",
    )
    parser.add_argument(
        "--aligner-model",
        metavar="FOLDER",
        help="a wav2vec2 model of the language, which splits and checks texts (default: for English PocketSphinx)",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="of the model that is to be trained, such as Pocket TTS's tokenizer.model or tokenizer.json: says which "
        "characters it does not know, and shows how many tokens the texts have",
    )
    parser.add_argument("--speakers", help="column, folder, one, or auto (default)")
    parser.add_argument("--format", help="of the recordings, as data.format takes it (default: recognised)")
    parser.add_argument(
        "--loudness", default="-23", metavar="LUFS", help="of every clip (-23), or none to leave levels as they are"
    )
    parser.add_argument("--max-sec", type=float, default=20.0, help="how long a clip may be: longer ones are cut (20)")
    parser.add_argument(
        "--clean-command",
        metavar="COMMAND",
        help="a program that cleans sound, such as 'deep-filter-py {input} -o {output}'; what it made is kept in work/",
    )
    parser.add_argument("--shard", metavar="N/COUNT", help="only this share; a last run without it joins all shares")
    parser.add_argument("--num-processes", type=int, help="how many work at once (default: as many as cores)")
    parser.add_argument("--serve", action="store_true", help="show the page where texts can be corrected, until Ctrl-C")
    parser.add_argument("--port", type=int, default=8765, help="of the page, on this machine only (8765)")
    parser.add_argument("--seed", type=int, default=0, help="of the splits")
    return parser


def request_of(arguments: argparse.Namespace) -> "Request":
    """Raises UserError for a value that cannot be used."""
    from calm_ft.data.sources.recordings import language_code
    from calm_ft.preparation.pipeline import Request
    from calm_ft.preparation.reading import Shard
    from calm_ft.preparation.words.text import known_code

    language = None if arguments.language is None else known_code(language_code(arguments.language))
    if arguments.language is not None and language is None:
        raise UserError(f"--language {arguments.language} is no ISO 639 code of a language: write it as en, fr or de.")
    if arguments.num_processes is not None and arguments.num_processes < 1:
        raise UserError(f"--num-processes {arguments.num_processes} must be at least 1.")
    if not 3 <= arguments.max_sec <= 30:
        raise UserError(f"--max-sec {arguments.max_sec:g} should be a number of seconds from 3 to 30, such as 20.")
    return Request(
        recordings=arguments.recordings.expanduser(),
        dataset=arguments.output_dir.expanduser(),
        language=language,
        transcribe=arguments.transcribe,
        speakers=arguments.speakers,
        format=arguments.format,
        loudness_lufs=loudness_of(arguments.loudness),
        max_sec=arguments.max_sec,
        clean_command=arguments.clean_command,
        aligner_model=arguments.aligner_model,
        tokenizer=None if arguments.tokenizer is None else arguments.tokenizer.expanduser(),
        shard=Shard.parse(arguments.shard),
        num_processes=arguments.num_processes,
        seed=arguments.seed,
    )


def loudness_of(text: str) -> float | None:
    """A loudness in LUFS, or None. Raises UserError for anything else."""
    if text == "none":
        return None
    try:
        loudness_lufs = float(text)
    except ValueError:
        loudness_lufs = 1.0
    if not -60 <= loudness_lufs <= -5:
        raise UserError(f"--loudness {text} should be none or a number from -60 to -5, such as -23.")
    return loudness_lufs


def show(summary: "Summary", request: "Request") -> None:
    """Print what the dataset holds, the problems with what was lost last, and what to do next."""
    dataset = summary.dataset
    if summary.assembled is None:
        print(f"share {request.shard.name} is done; when all are, run the same command without --shard")
        return
    totals = summary.totals
    splits = ", ".join(f"{count} {name}" for name, count in totals["splits"].items())
    languages = "".join(f", {hours(each)} in {name}" for name, each in totals.get("hours_by_language", {}).items())
    print(
        f"{dataset}: {hours(totals['hours_kept'])} kept of {hours(totals['hours_in'])}, {totals['clips']} clips "
        f"({splits}), {totals['speakers']} {'speaker' if totals['speakers'] == 1 else 'speakers'}{languages}"
    )
    lost_sec: dict[str, float] = defaultdict(float)
    for each in summary.assembled.left_out:
        lost_sec[each.kind] += each.lost_sec
    order = list(SEVERITY_WORDS)
    for problem in sorted(summary.problems, key=lambda each: (order.index(each.severity), lost_sec[each.kind])):
        print(problem_line(problem, lost_sec[problem.kind]))
    lost = sum(lost_sec.values())
    if totals["left_out"]:
        print(f"LEFT OUT in all: {totals['left_out']} clips, {hours(lost / 3600)}: see {dataset / 'excluded.jsonl'}")
    heldout = [f"evaluation.heldout_path={dataset / 'heldout.jsonl'}"] if totals["splits"].get("heldout") else []
    print("listen and look: " + str(dataset / "report.html") + "  (correct texts: the same command with --serve)")
    print("train: " + command_line("train", [f"data.path={dataset}", *heldout]))


def problem_line(problem: "Problem", lost_sec: float) -> str:
    """One problem with its number, an example and its mend."""
    number = f": {len(problem.clips)}" if problem.clips else ""
    lost = f" ({hours(lost_sec / 3600)})" if lost_sec else ""
    example = f": {problem.details[0]}" if problem.details else ""
    if problem.clips:
        example = f", {'such as ' if len(problem.clips) > 1 else ''}{problem.clips[0]}{example}"
    mend = problem.mend[0].upper() + problem.mend[1:]
    return f"{SEVERITY_WORDS[problem.severity]}: {problem.title}{number}{lost}{example}. {mend}."


def hours(hours: float) -> str:
    """12.3 s, 4.5 minutes, 2.3 hours."""
    if hours < 1 / 60:
        return f"{3600 * hours:.1f} s"
    return f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:.1f} hours"


if __name__ == "__main__":
    run_script(main)
