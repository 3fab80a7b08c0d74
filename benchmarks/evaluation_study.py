"""The study of papers/evaluation_study.md: strategies, replay, schedules and LSD shares, judged by the evaluation.

    python -m benchmarks.evaluation_study run --output-dir study   # 39 runs, each evaluated on 40 held-out sentences
    python -m benchmarks.evaluation_study table study              # also writes study/evaluation_study.json

What is finished is not repeated.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import studies
from benchmarks.measuring import ROOT
from benchmarks.paired import ZERO_SHOT, compared, markdown, read_scores
from benchmarks.studies import SEEDS, Sweep
from calm_ft.atomic_file import write_text
from calm_ft.errors import run_script
from tools.nano.assets import held_out_sentences, write_voice
from tools.nano.espeak import EspeakVoice
from tools.nano.voices import DEMO_VOICE

RATES = {"head_only": "1e-3", "last_n_layers": "6e-4", "full": "3e-4", "lora": "1e-3"}
HALF = ["objective=lsd", "objective.flow_weight=0.5", "objective.lsd_weight=0.5", "objective.lsd_fraction=0.5"]
LSD_SHARES = {"0": ["objective=flow_matching"], "25": ["objective=lsd"], "50": HALF}
CENTRE = "head_only_recordings"


def main() -> None:
    studies.run_or_table(__doc__, run, table)


def sweeps() -> Iterator[Sweep]:
    """Strategies by replay, then schedules by LSD share; what both have, head_only on cosine with .25, comes once."""
    for data in ("recordings", "replay"):
        for strategy, rate in RATES.items():
            yield Sweep(f"{strategy}_{data}", [SEEDS, f"strategy={strategy}", f"optimizer.lr={rate}", f"data={data}"])
    for schedule in ("cosine", "linear"):
        for share, objective in LSD_SHARES.items():
            if (schedule, share) != ("cosine", "25"):
                settings = ["strategy=head_only", f"optimizer.lr={RATES['head_only']}", f"interpolant={schedule}"]
                yield Sweep(_objective(schedule, share), [SEEDS, *settings, *objective])


def _objective(schedule: str, share: str) -> str:
    return CENTRE if (schedule, share) == ("cosine", "25") else f"head_only_{schedule}_lsd_{share}"


def comparisons() -> Iterator[tuple[str, str]]:
    """(setting, what it is compared with), in the order of the protocol."""
    for data in ("recordings", "replay"):
        yield from ((f"{strategy}_{data}", ZERO_SHOT) for strategy in RATES)
    yield from ((f"{strategy}_recordings", CENTRE) for strategy in RATES if strategy != "head_only")
    yield from ((f"{strategy}_replay", f"{strategy}_recordings") for strategy in RATES)
    yield from ((_objective("linear", share), _objective("cosine", share)) for share in LSD_SHARES)
    for schedule in ("cosine", "linear"):
        yield from ((_objective(schedule, share), _objective(schedule, "25")) for share in ("0", "50"))


def run(output_dir: Path) -> None:
    """Train, then evaluate on sentences that neither the runs nor the recogniser have heard."""
    quiet = [Sweep(each.name, [*each.overrides, "evaluation.num_sentences=0"]) for each in sweeps()]
    studies.train(quiet, output_dir / "runs", output_dir / "cache")
    heldout = write_heldout(output_dir / "heldout")
    runs = sorted(str(each.parent) for each in (output_dir / "runs").glob("*/run.json"))
    command = [sys.executable, "-m", "calm_ft.evaluate", *runs, "--heldout-path", str(heldout)]
    subprocess.run(command, cwd=ROOT, check=True)


def write_heldout(folder: Path, voice: EspeakVoice = DEMO_VOICE) -> Path:
    """The 24 held-out sentences of the demo and 16 that no shipped clip says, by one voice."""
    if not (folder / "complete").is_file():
        write_voice(folder, voice, held_out_sentences(0)["everyday"])
        (folder / "complete").touch()
    return folder


def table(output_dir: Path) -> str:
    """The tables by the protocol's reading, which are also written as JSON.

    Raises UserError where a run was not evaluated.
    """
    names = [each.name for each in sweeps()]
    content = compared(read_scores(output_dir / "runs", names, CENTRE), comparisons())
    write_text(output_dir / "evaluation_study.json", json.dumps(content, indent=1) + "\n")
    return markdown(content)


if __name__ == "__main__":
    run_script(main)
