"""What a whole preparation finds in a folder of clips with planted faults, and what it says of the clean ones.

    python -m benchmarks.preparation_data --output-dir untidy --languages en --minutes 1 --seed 7
    python -m benchmarks.preparation_faults untidy --output preparation_faults.json

A fault is found where its clip has one of the kinds that name it. A false alarm is any warning or error on a clean clip
(copies and shared texts apart, which the clean clips do have).
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import measuring
from calm_ft.atomic_file import write_text
from calm_ft.errors import UserError, run_script
from calm_ft.preparation.pipeline import Request, Summary, prepare

COPIES = {"duplicate", "repeated_text", "same_sound_other_text"}
CUT = {"cut_start", "cut_end", "wrong_text", "text_too_long", "text_too_short"}
TEXT = {"wrong_text", "text_too_long", "text_too_short", "other_language"}
VOICE = {"other_voice", "unlike_voice", "other_language"}
NAMES: Mapping[str, set[str]] = {
    **{
        each: {each} for each in ("clipped", "too_quiet", "noisy", "narrow_band", "silent_channel", "reversed_polarity")
    },
    **{each: {each} for each in ("offset", "reverberant", "music", "integer_samples", "too_short", "voices_at_once")},
    **dict.fromkeys(("cut_start", "cut_end"), CUT),
    **dict.fromkeys(("same_bytes", "same_sound"), COPIES),
    **dict.fromkeys(("wrong_text", "shifted_text", "text_too_long"), TEXT),
    **dict.fromkeys(("other_voice", "third_voice"), VOICE),
    "not_a_number": {"unreadable", "not_a_number"},
    "no_text": {"no_text", "weak_transcripts"},
}
"""Planted fault -> the kinds of problems that name it. The others are mended without a word, or cannot be missed."""


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="what benchmarks.preparation_data wrote")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, help="where the dataset goes (default: beside the faults)")
    given = parser.parse_args()
    truth_path = given.folder / "faults.json"
    if not truth_path.is_file():
        raise UserError(f"{given.folder} holds no faults.json: make it by python -m benchmarks.preparation_data.")
    dataset = given.dataset or given.folder / "dataset"
    summary = prepare(Request(given.folder / "faults", dataset, language="en"))
    truth = {Path(name).stem: each["fault"] for name, each in json.loads(truth_path.read_text("utf-8")).items()}
    results = {
        "machine": measuring.machine(),
        "minutes_in": round(summary.totals["hours_in"] * 60, 1),
        **score(truth, kinds_of_clips(summary)),
    }
    write_text(given.output, json.dumps(results, indent=1) + "\n")
    print(table(results))


def kinds_of_clips(summary: Summary) -> dict[str, set[str]]:
    """File -> the kinds of warnings and errors on its clips."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for problem in summary.problems:
        if problem.severity != "note" or problem.kind in COPIES | {"silent_channel", "reversed_polarity", "offset"}:
            for clip in problem.clips:
                kinds[Path(clip.partition("@")[0]).stem].add(problem.kind)
    return kinds


def score(truth: Mapping[str, str | None], kinds: Mapping[str, set[str]]) -> dict[str, Any]:
    """Planted and found of each fault, and the false alarms on clean clips by kind."""
    found = {fault: [0, 0] for fault in NAMES}
    alarms: dict[str, int] = defaultdict(int)
    clean = [name for name, fault in truth.items() if fault is None]
    for name, fault in truth.items():
        if fault in found:
            found[fault][0] += bool(kinds.get(name, set()) & NAMES[fault])
            found[fault][1] += 1
    alarmed = {name: kinds.get(name, set()) - COPIES for name in clean}
    for each in alarmed.values():
        for kind in each:
            alarms[kind] += 1
    return {
        "found": {fault: f"{hits}/{planted}" for fault, (hits, planted) in found.items() if planted},
        "clean_clips": len(clean),
        "clean_clips_with_an_alarm": sum(bool(each) for each in alarmed.values()),
        "alarms_on_clean_clips": dict(alarms),
    }


def table(results: Mapping[str, Any]) -> str:
    lines = ["| fault | found |", "|---|---|", *(f"| {fault} | {hits} |" for fault, hits in results["found"].items())]
    alarmed, clean = results["clean_clips_with_an_alarm"], results["clean_clips"]
    lines.append(f"\nfalse alarms: {alarmed} of {clean} clean clips, {results['alarms_on_clean_clips']}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
