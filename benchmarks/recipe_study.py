"""The study of papers/recipe_study.md: what keeps a guided student reading while it learns a voice.

    python -m tools.nano --output-dir build                                            # makes the teacher, in hours
    python -m benchmarks.recipe_study --output-dir study --teacher build/flow_lm_run/export  # 111 runs of each voice

What is finished is not repeated. Writes study/recipe_study.json and prints its tables.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import studies
from benchmarks.evaluation_study import write_heldout
from benchmarks.measuring import parser_of, positive
from benchmarks.paired import ZERO_SHOT, compared, markdown, read_scores
from benchmarks.strategies_study import DEMO_VOICE, OTHER_VOICE, VOICES, record
from benchmarks.studies import NUM_SEEDS, SEEDS, Sweep
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import UserError, run_script
from calm_ft.report.runs import read_runs
from tools.nano.assets import everyday_sentences, write_voice
from tools.nano.espeak import EspeakVoice
from tools.nano.everyday import EVERYDAY
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
OTHER_RATES = {"head_only": ("1e-4", "3e-3"), "full": ("3e-5", "1e-4", "1e-3")}
LSD_WEIGHTS = ("0.5", "1")
FEW_STEPS, MANY_STEPS = 50, 600
LONG = {f"experiment={TAUGHT}", f"trainer.max_steps={MANY_STEPS}"}
MINUTES = {1: 30, 15: 456}
"""Minutes of a voice -> clips; the ways have five minutes."""
ONE_STEP_SCORE = "validation one_step_score"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="export of the embedded model's teacher")
    parser.add_argument("--ways-alone", action="store_true", help="the first part: 60 runs of each voice")
    parser.add_argument("--processes", type=positive, default=1, help="runs at once, of one thread each (default: 1)")
    parser.add_argument("--accelerator", default="cpu", help="Lightning's, such as gpu (default: cpu)")
    given = parser.parse_args()
    if not (given.teacher / "config.yaml").is_file():
        raise UserError(f"--teacher {given.teacher} is no export: make it by `python -m tools.nano --stage flow_lm`.")
    output_dir, teacher = given.output_dir.absolute(), given.teacher.absolute()
    studies_of = {voice: VoiceStudy(output_dir / voice, voice, teacher, given.ways_alone) for voice in VOICES}
    training = [study.training(output_dir / "cache", given.accelerator) for study in studies_of.values()]
    # The longest first, so that few processes wait at the end.
    training_commands = sorted(chain(*training), key=lambda command: not LONG & set(command))
    studies.run_side_by_side(training_commands, given.processes)
    evaluations = [study.evaluation(given.processes) for study in studies_of.values()]
    studies.run_side_by_side(chain(*evaluations), given.processes)
    contents = {voice: study.table() for voice, study in studies_of.items()}
    write_text(output_dir / "recipe_study.json", json.dumps(contents, indent=1) + "\n")
    print("\n\n".join(f"### {voice}\n\n{markdown(content)}" for voice, content in contents.items()))


@dataclass(frozen=True)
class VoiceStudy:
    """One voice's runs in a folder of its own."""

    folder: Path
    voice: str
    teacher: Path
    ways_alone: bool

    def sweeps(self) -> list[Sweep]:
        amounts = {minutes: self.folder / "data" / f"{minutes}_min" for minutes in MINUTES}
        return [*ways(self.teacher), *([] if self.ways_alone else measures(amounts))]

    def training(self, cache: Path, accelerator: str) -> list[Sequence[str]]:
        """The commands that train."""
        common = [f"data.path={self._recordings() / 'train'}", "evaluation.num_sentences=0"]
        common += [f"evaluation.base_voices={self._judging()}", f"trainer.accelerator={accelerator}"]
        if not self.ways_alone:
            write_amounts(self.folder / "data", self._speaker())
        sweeps = [Sweep(each.name, [*common, *each.overrides]) for each in self.sweeps()]
        return studies.training_commands(sweeps, self.folder / "runs", cache)

    def evaluation(self, num_shares: int) -> list[Sequence[str]]:
        """The commands that judge all runs on the same sentences."""
        heldout = write_heldout(self.folder / "heldout", self._speaker())
        common = ["--heldout-path", str(heldout), "--base-voices", str(self._judging()), "--base-sentences", "2"]
        runs = [str(each) for each in self._run_folders()]
        return [["calm_ft.evaluate", *runs[first::num_shares], *common] for first in range(min(num_shares, len(runs)))]

    def table(self) -> dict[str, Any]:
        """Means and comparisons of all settings, and what each costs."""
        names = [each.name for each in self.sweeps()]
        scores = read_scores(self.folder / "runs", names, CENTRE)
        return {**compared(scores, comparisons(names)), "costs": {name: self._cost(name) for name in names}}

    def _run_folders(self) -> Iterator[Path]:
        """The folders of the settings' runs, the teachers' left out."""
        for sweep in self.sweeps():
            yield from (self.folder / "runs" / f"{sweep.name}-{seed}" for seed in range(NUM_SEEDS))

    def _speaker(self) -> EspeakVoice:
        return OTHER_VOICE if self.voice == OTHER_VOICE.name else ANNIE

    def _recordings(self) -> Path:
        return record(self.folder / "data") if self._speaker() == OTHER_VOICE else DEMO_VOICE

    def _judging(self) -> Path:
        others = studies.shipped_judging_voices(self.voice)
        if self._speaker() == OTHER_VOICE:
            others["annie"] = DEMO_VOICE / "heldout"
        folder = self.folder / "judging"
        return folder if folder.is_dir() else studies.copied_voices(folder, others)

    def _cost(self, name: str) -> dict[str, float]:
        """Seconds of training (the teacher's too), trained parameters, and one-step scores, as means over the seeds."""
        folders = [self.folder / "runs" / f"{name}-{seed}" for seed in range(NUM_SEEDS)]
        teachers = [each.with_name(f"{each.name}-teacher") for each in folders]
        runs = read_runs(folders)
        all_runs = read_runs([each for each in (*folders, *teachers) if each.is_dir()])
        scores: Mapping[str, list[float]] = {
            system: [run.residuals[ONE_STEP_SCORE][system] for run in runs] for system in ("base", "tuned")
        }
        return {
            "training_sec": sum(run.record["training_sec"] for run in all_runs) / NUM_SEEDS,
            "num_trained_parameters": runs[0].record["num_trained_parameters"],
            "one_step_score_base": mean(scores["base"]),
            "one_step_score_tuned": mean(scores["tuned"]),
        }


def ways(teacher: Path) -> Iterator[Sweep]:
    """Every way with and without replay, anchors on three of them, and the teacher's way."""
    for data, anchor in ANCHORS.items():
        for way, overrides in WAYS.items():
            yield Sweep(f"{way}_{data}", [SEEDS, f"data={data}", *overrides])
        for way in ANCHORED:
            yield Sweep(f"{way}_{data}_anchor", [SEEDS, f"data={data}", *WAYS[way], *anchor])
        taught = [
            f"experiment={TAUGHT}",
            f"adapter.model={teacher / 'config.yaml'}",
            f"adapter.student={ASSETS / 'nano'}",
            "adapter.trajectory_steps=0",
        ]
        tuned = ["teacher.optimizer.lr=3e-4", f"teacher.trainer.max_steps={studies.NUM_STEPS}"]
        tuned += ["teacher.export.which=last"]
        yield Sweep(f"{TAUGHT}_{data}", [SEEDS, f"data={data}", *taught, *tuned])


def measures(amounts: Mapping[int, Path]) -> Iterator[Sweep]:
    """head_only and full, each with one setting changed."""
    for way, rates in OTHER_RATES.items():
        changes = {f"lr_{rate}": [f"optimizer.lr={rate}"] for rate in rates}
        changes |= {f"lsd_{weight}": [f"objective.lsd_weight={weight}"] for weight in LSD_WEIGHTS}
        changes |= {f"steps_{number}": [f"trainer.max_steps={number}"] for number in (FEW_STEPS, MANY_STEPS)}
        changes |= {f"minutes_{minutes}": [f"data.path={folder}"] for minutes, folder in amounts.items()}
        for name, overrides in changes.items():
            yield Sweep(f"{way}_{name}", [SEEDS, *WAYS[way], *overrides])


def comparisons(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(setting, what it is compared with), in the order of the protocol."""
    yield from ((name, ZERO_SHOT) for name in names)
    yield from ((name, CENTRE) for name in names if name.endswith("_recordings") and name != CENTRE)
    yield from ((f"{way}_{data}_anchor", f"{way}_{data}") for data in ANCHORS for way in ANCHORED)
    yield from ((f"{way}_replay", f"{way}_recordings") for way in (*WAYS, TAUGHT))
    for each in measures(dict.fromkeys(MINUTES, Path())):
        if each.name in names:
            yield each.name, f"{'full' if each.name.startswith('full') else 'head_only'}_recordings"


def write_amounts(folder: Path, voice: EspeakVoice) -> None:
    """The recordings of each number of minutes: the demo's sentences, and further ones where those are too few."""
    sentences = everyday_sentences(0)
    num_further = max(MINUTES.values()) - len(sentences.train)
    further = EVERYDAY.make_sentences(num_further, seed=0, stream="recipe_study", taken=sentences.all())
    for minutes, num_clips in MINUTES.items():
        clips = folder / f"{minutes}_min"
        if not (clips / "complete").is_file():
            write_voice(clips, voice, [*sentences.train, *further][:num_clips])
            (clips / "complete").touch()


if __name__ == "__main__":
    run_script(main)
