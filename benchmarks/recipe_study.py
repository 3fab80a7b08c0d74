"""The study of papers/recipe_study.md: what keeps a guided student reading while it learns a voice.

    python -m tools.nano --output-dir build                                            # makes the teacher, in hours
    python -m benchmarks.recipe_study --output-dir study --teacher build/flow_lm_run/export   # 60 runs of each voice

What is finished is not repeated. Writes study/recipe_study.json and prints its tables.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import studies
from benchmarks.measuring import ROOT, parser_of
from benchmarks.paired import ZERO_SHOT, compared, markdown, read_scores
from benchmarks.strategies_study import DEMO_VOICE, OTHER_VOICE, VOICES, record
from benchmarks.studies import NUM_SEEDS, Sweep
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import UserError, run_script
from tools.nano.assets import held_out_sentences, write_voice
from tools.nano.voices import DEMO_VOICE as ANNIE

WAYS = {
    "head_only": ["strategy=head_only", "optimizer.lr=1e-3"],
    "head_only_slow": ["strategy=head_only", "optimizer.lr=3e-4"],
    "last_n_layers": ["strategy=last_n_layers", "optimizer.lr=6e-4"],
    "full": ["strategy=full", "optimizer.lr=3e-4"],
    "full_heads_frozen": ["strategy=full", "optimizer.lr=3e-4", "strategy.freeze_components=[flow_head,eos_head]"],
    "lora": ["strategy=lora", "optimizer.lr=1e-3"],
}
ANCHORED = ("head_only", "full", "lora")
ANCHORS = {
    "recordings": ["adapter.anchor_weight=1"],
    "replay": ["adapter.anchor_weight=1", "adapter.anchor_rows=replayed"],
}
CENTRE = "head_only_recordings"
TAUGHT = "teacher_then_student"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="export of the embedded model's teacher")
    given = parser.parse_args()
    if not (given.teacher / "config.yaml").is_file():
        raise UserError(f"--teacher {given.teacher} is no export: make it by `python -m tools.nano --stage flow_lm`.")
    output_dir, teacher = given.output_dir.absolute(), given.teacher.absolute()
    for voice in VOICES:
        run(output_dir, voice, teacher)
    contents = {voice: table(output_dir, voice) for voice in VOICES}
    write_text(output_dir / "recipe_study.json", json.dumps(contents, indent=1) + "\n")
    print("\n\n".join(f"### {voice}\n\n{markdown(content)}" for voice, content in contents.items()))


def sweeps(teacher: Path) -> Iterator[Sweep]:
    """Every way with and without replay, anchors on three of them, and the teacher's way."""
    seeds = f"seed={','.join(map(str, range(NUM_SEEDS)))}"
    for data, anchor in ANCHORS.items():
        for way, overrides in WAYS.items():
            yield Sweep(f"{way}_{data}", [seeds, f"data={data}", *overrides])
        for way in ANCHORED:
            yield Sweep(f"{way}_{data}_anchor", [seeds, f"data={data}", *WAYS[way], *anchor])
        taught = [
            f"experiment={TAUGHT}",
            f"adapter.model={teacher / 'config.yaml'}",
            f"adapter.student={ASSETS / 'nano'}",
        ]
        tuned = ["teacher.optimizer.lr=3e-4", f"teacher.trainer.max_steps={studies.NUM_STEPS}"]
        tuned += ["teacher.export.which=last"]
        yield Sweep(f"{TAUGHT}_{data}", [seeds, f"data={data}", *taught, *tuned])


def comparisons() -> Iterator[tuple[str, str]]:
    """(setting, what it is compared with), in the order of the protocol."""
    names = [each.name for each in sweeps(Path())]
    yield from ((name, ZERO_SHOT) for name in names)
    yield from ((name, CENTRE) for name in names if name.endswith("_recordings") and name != CENTRE)
    yield from ((f"{way}_{data}_anchor", f"{way}_{data}") for data in ANCHORS for way in ANCHORED)
    yield from ((f"{way}_replay", f"{way}_recordings") for way in (*WAYS, TAUGHT))


def run(output_dir: Path, voice: str, teacher: Path) -> None:
    """Train one voice's runs, then evaluate all of them on the same sentences."""
    folder, recordings = output_dir / voice, DEMO_VOICE
    others = studies.shipped_judging_voices(voice)
    if voice == OTHER_VOICE.name:
        recordings = record(output_dir / "data" / voice)
        others["annie"] = DEMO_VOICE / "heldout"
    judging = studies.copied_voices(folder / "judging", others)
    common = [f"data.path={recordings / 'train'}", "evaluation.num_sentences=0", f"evaluation.base_voices={judging}"]
    studies.train(
        [Sweep(each.name, [*each.overrides, *common]) for each in sweeps(teacher)],
        folder / "runs",
        output_dir / "cache",
    )
    heldout = write_heldout(folder / "heldout", voice)
    command = [sys.executable, "-m", "calm_ft.evaluate", *map(str, sorted(run_folders(folder / "runs")))]
    command += ["--heldout-path", str(heldout), "--base-voices", str(judging), "--base-sentences", "2"]
    subprocess.run(command, cwd=ROOT, check=True)


def run_folders(runs: Path) -> Iterator[Path]:
    """The folders of the settings' runs, the teachers' left out."""
    for sweep in sweeps(Path()):
        yield from (runs / f"{sweep.name}-{seed}" for seed in range(NUM_SEEDS))


def write_heldout(folder: Path, voice: str) -> Path:
    """40 sentences that no training clip says, by the voice."""
    if not (folder / "complete").is_file():
        write_voice(folder, OTHER_VOICE if voice == OTHER_VOICE.name else ANNIE, held_out_sentences(0)["everyday"])
        (folder / "complete").touch()
    return folder


def table(output_dir: Path, voice: str) -> dict[str, object]:
    """One voice's means and comparisons."""
    scores = read_scores(output_dir / voice / "runs", [each.name for each in sweeps(Path())], CENTRE)
    return compared(scores, comparisons())


if __name__ == "__main__":
    run_script(main)
