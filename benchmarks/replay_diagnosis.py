"""Why replay kept the residual of other voices and not always their sound: papers/strategies_study.md, "Diagnosis".

Three sets of replayed clips for the same tuning (full, 3e-4, the demo voice), judged on a base voice that is among the
replayed ones or is not.

    python benchmarks/replay_diagnosis.py run --output-dir diagnosis
    python benchmarks/replay_diagnosis.py table diagnosis
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import soundfile

from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from tools.nano.everyday import EVERYDAY
from tools.nano.voices import FLOW_LM_VOICES

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "calm_ft" / "assets"
NUM_SENTENCES = 16
REPLAYED, ABSENT = "steph", "belinda"


@dataclass(frozen=True)
class Setting:
    """Which voices are replayed (None: the shipped ones) and which base voice is judged."""

    voices: list[str] | None
    judged: str


ALL = [voice.name for voice in FLOW_LM_VOICES]
SETTINGS = {
    "8 voices, judged on one of them": Setting(None, REPLAYED),
    "23 voices, judged on the one left out": Setting([name for name in ALL if name != ABSENT], ABSENT),
    "24 voices, judged on one of them": Setting(ALL, ABSENT),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="nine runs; finished ones are not repeated")
    running.add_argument("--output-dir", type=Path, required=True)
    running.set_defaults(call=lambda given: run(given.output_dir.absolute()))
    showing = commands.add_parser("table", help="the table of what has finished")
    showing.add_argument("output_dir", type=Path)
    showing.set_defaults(call=lambda given: print(table(given.output_dir)))
    given = parser.parse_args()
    given.call(given)


def run(output_dir: Path) -> None:
    """One sweep over seeds a setting."""
    for place, setting in enumerate(SETTINGS.values()):
        replay = ASSETS / "base_voices"
        if setting.voices is not None:
            replay = speak_voices(output_dir / "data" / f"replay-{place}", setting.voices)
        command = [sys.executable, "scripts/train.py", "-m", "experiment=demo", "strategy=full", "logger=csv"]
        command += ["data=replay", f"data.sources.base_voices.path={replay}", f"data.cache_dir={output_dir / 'cache'}"]
        command += [
            f"evaluation.voices_path={judging_voices(output_dir / 'data' / f'judging-{setting.judged}', setting)}"
        ]
        command += [f"evaluation.base_voice={setting.judged}", "optimizer.lr=3e-4", "trainer.max_steps=200"]
        command += ["trainer.val_check_interval=50", "trainer.accelerator=cpu", "export.which=last"]
        command += ["evaluation.every_n_steps=null"]
        command += [f"output_dir={output_dir / str(place)}", "resume=true", "seed=0,1,2"]
        subprocess.run(command, cwd=ROOT, check=True)


def speak_voices(directory: Path, voices: Sequence[str]) -> Path:
    """Everyday sentences that are neither trained on nor judged by, other ones for each voice."""
    taken = {path.read_text(encoding="utf-8").strip() for path in (ASSETS / "demo_voice").glob("*/*.txt")}
    for voice in FLOW_LM_VOICES:
        if voice.name in voices and not (directory / voice.name / "complete").is_file():
            texts = EVERYDAY.make_sentences(NUM_SENTENCES, seed=0, stream=f"diagnosis.{voice.name}", taken=taken)
            speak(directory / voice.name, voice, texts)
            (directory / voice.name / "complete").touch()
    return directory


def judging_voices(directory: Path, setting: Setting) -> Path:
    """The shipped judging voices; the judged one in the place of the absent one, with the held-out sentences."""
    shipped = ASSETS / "judging_voices"
    if setting.judged == ABSENT:
        return shipped
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(shipped, directory, ignore=shutil.ignore_patterns(ABSENT))
    (voice,) = (each for each in FLOW_LM_VOICES if each.name == setting.judged)
    texts = [path.read_text(encoding="utf-8").strip() for path in sorted((shipped / ABSENT).glob("*.txt"))]
    speak(directory / voice.name, voice, texts)
    return directory


def speak(directory: Path, voice: EspeakVoice, texts: Sequence[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        soundfile.write(directory / f"{number:03d}.flac", synthesize(text, voice), SAMPLE_RATE_HZ)
        (directory / f"{number:03d}.txt").write_text(text + "\n", encoding="utf-8")


def table(output_dir: Path) -> str:
    """Base and tuned figures of the judged base voice, and of the tuned voice; mean over seeds and range."""
    lines = [
        "| replay | base voice's voice-ID | its MCD | its sentences | tuned voice's voice-ID | base voices residual |"
    ]
    lines.append("|---" * 6 + "|")
    for place, (name, setting) in enumerate(SETTINGS.items()):
        found = sorted(output_dir.glob(f"{place}-*/run.json"))
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in found]
        figures = [each["figures"] for each in runs if each["status"] == "finished"]
        if figures:
            voices = (setting.judged, setting.judged, setting.judged, "tuned voice")
            measures = ("voice_id", "mcd_db", "sentence_id", "voice_id")
            cells = [
                change(
                    [each["scores"][f"{system}, {voice}"][measure]["mean"] for each in figures] for system in SYSTEMS
                )
                for voice, measure in zip(voices, measures, strict=True)
            ]
            residuals = ([each["base_voices"]["residual"][system] for each in figures] for system in SYSTEMS)
            lines.append(f"| {name} | {' | '.join([*cells, change(residuals)])} |")
    return "\n".join(lines)


SYSTEMS = ("base", "tuned")


def change(before_and_after: Iterable[list[float]]) -> str:
    """Mean before and after over runs, and the range after."""
    before, after = before_and_after
    return f"{mean(before):.2f} to {mean(after):.2f} ({min(after):.2f}..{max(after):.2f})"


if __name__ == "__main__":
    main()
