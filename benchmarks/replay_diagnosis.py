"""Why replay kept the residual of other voices and not always their sound: papers/strategies_study.md, "Diagnosis".

Three sets of replayed clips for the same tuning (full, 3e-4, the demo voice), judged on a base voice that is among the
replayed ones or is not. Nine runs.

    python -m benchmarks.replay_diagnosis run --output-dir diagnosis
    python -m benchmarks.replay_diagnosis table diagnosis
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks import studies
from benchmarks.studies import BASE_VOICE, Figures, Sweep, figures_of, mean_and_range
from calm_ft.config import ASSETS
from calm_ft.errors import run_script
from tools.nano.assets import write_voice
from tools.nano.everyday import EVERYDAY
from tools.nano.voices import FLOW_LM_VOICES

NUM_SENTENCES = 16
REPLAYED, ABSENT = "steph", BASE_VOICE
BY_NAME = {voice.name: voice for voice in FLOW_LM_VOICES}
COLUMNS = {
    "base voice": "base voice's voice-ID",
    "base MCD": "its MCD",
    "base sentence": "its sentences",
    "base CER": "its CER",
    "voice": "tuned voice's voice-ID",
    "base voices": "base voices residual",
}


@dataclass(frozen=True)
class Setting:
    """Which voices are replayed (None: the shipped ones) and which base voice is judged."""

    voices: Sequence[str] | None
    judged: str


SETTINGS = {
    "8 voices, judged on one of them": Setting(None, REPLAYED),
    "23 voices, judged on the one left out": Setting([name for name in BY_NAME if name != ABSENT], ABSENT),
    "24 voices, judged on one of them": Setting(list(BY_NAME), ABSENT),
}


def main() -> None:
    studies.run_or_table(__doc__, run, table)


def run(output_dir: Path) -> None:
    """One sweep over seeds a setting."""
    common = ["experiment=demo", "strategy=full", "data=replay", "optimizer.lr=3e-4", "seed=0,1,2"]
    for place, setting in enumerate(SETTINGS.values()):
        replay = ASSETS / "base_voices"
        if setting.voices is not None:
            replay = speak_voices(output_dir / "data" / f"replay-{place}", setting.voices)
        judged = judged_voice(output_dir / "data", setting.judged)
        judging = studies.judged_on(
            output_dir / "data" / f"judging-{setting.judged}", judged, studies.shipped_judging_voices(ABSENT)
        )
        sweep = Sweep(str(place), [*common, f"data.sources.base_voices.path={replay}", *judging])
        studies.train([sweep], output_dir, output_dir / "cache")


def speak_voices(directory: Path, voices: Sequence[str]) -> Path:
    """Everyday sentences that are neither trained on nor judged by, other ones for each voice."""
    taken = {path.read_text(encoding="utf-8").strip() for path in (ASSETS / "demo_voice").glob("*/*.txt")}
    for name, voice in BY_NAME.items():
        if name in voices and not (directory / name / "complete").is_file():
            texts = EVERYDAY.make_sentences(NUM_SENTENCES, seed=0, stream=f"diagnosis.{name}", taken=taken)
            write_voice(directory / name, voice, texts)
            (directory / name / "complete").touch()
    return directory


def judged_voice(directory: Path, name: str) -> Path:
    """The shipped recordings of the absent voice, or the same sentences by another."""
    shipped = studies.JUDGING_VOICES / ABSENT
    if name == ABSENT:
        return shipped
    folder = directory / "judged" / name
    if not (folder / "complete").is_file():
        texts = [path.read_text(encoding="utf-8").strip() for path in sorted(shipped.glob("*.txt"))]
        write_voice(folder, BY_NAME[name], texts)
        (folder / "complete").touch()
    return folder


def table(output_dir: Path) -> str:
    """Base and tuned figures of the judged base voice, and of the tuned voice; mean over seeds and range."""
    rows: dict[str, tuple[list[Figures], list[Figures]]] = {}
    for place, (name, setting) in enumerate(SETTINGS.items()):
        runs = studies.finished_runs(output_dir, f"{place}-*")
        base, tuned = ([figures_of(each, system, setting.judged) for each in runs] for system in ("base", "tuned"))
        if runs:
            rows[name] = base, tuned
    columns = studies.measured_columns((row for pair in rows.values() for each in pair for row in each), COLUMNS)
    lines = [f"| replay | {' | '.join(COLUMNS[each] for each in columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name, (base, tuned) in rows.items():
        cells = [
            f"{mean(each[column].mean for each in base):.2f} to {mean_and_range([each[column].mean for each in tuned])}"
            for column in columns
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
