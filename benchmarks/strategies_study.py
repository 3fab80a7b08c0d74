"""The study of papers/strategies_study.md: three strategies, replay, two rates, three seeds, on voices never heard.

python -m benchmarks.strategies_study run --output-dir study      # 36 runs of each voice
python -m benchmarks.strategies_study table study
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks import studies
from benchmarks.studies import BASE_VOICE, RESIDUALS, SPOKEN, Figures, Sweep, change_that_counts, figures_of
from calm_ft.config import ASSETS
from calm_ft.errors import run_script
from calm_ft.report.runs import Run
from tools.nano.assets import write_voice
from tools.nano.espeak import EspeakVoice

DEMO_VOICE = ASSETS / "demo_voice"
OTHER_VOICE = EspeakVoice("f5", "f5")
VOICES = ("annie", OTHER_VOICE.name)
RATES = {"head_only": "3e-4,1e-3", "last_n_layers": "2e-4,6e-4", "full": "1e-4,3e-4"}
NO_REPLAY, REPLAY = "-", "replay"
Setting = tuple[str, float, str]
"""Strategy, rate, and whether other voices are replayed."""


def main() -> None:
    studies.run_or_table(__doc__, run, tables)


def run(output_dir: Path) -> None:
    """One sweep a strategy and voice."""
    for voice in VOICES:
        data = output_dir / "data" / voice
        recordings, others = DEMO_VOICE, studies.shipped_judging_voices(BASE_VOICE)
        if voice == OTHER_VOICE.name:
            recordings = record(data)
            others = {**studies.shipped_judging_voices(BASE_VOICE, voice), "annie": DEMO_VOICE / "heldout"}
        common = ["experiment=demo", "data=recordings,replay", "seed=0,1,2", f"data.path={recordings / 'train'}"]
        common += [f"evaluation.heldout_path={recordings / 'heldout'}"]
        common += studies.judged_on(data / "judging", studies.JUDGING_VOICES / BASE_VOICE, others)
        sweeps = [Sweep(name, [*common, f"strategy={name}", f"optimizer.lr={rates}"]) for name, rates in RATES.items()]
        studies.train(sweeps, output_dir / voice, output_dir / "cache")


def record(folder: Path) -> Path:
    """The demo voice's sentences by the other voice."""
    for part in ("train", "heldout"):
        if not (folder / part / "complete").is_file():
            paths = sorted((DEMO_VOICE / part).glob("*.txt"))
            write_voice(folder / part, OTHER_VOICE, [path.read_text(encoding="utf-8").strip() for path in paths])
            (folder / part / "complete").touch()
    return folder


def setting_of(run: Run) -> Setting:
    replay = REPLAY if run.config["data"]["sources"] else NO_REPLAY
    return run.folder.name.rpartition("-")[0], run.config["optimizer"]["lr"], replay


def tables(output_dir: Path) -> str:
    """Two markdown tables a voice: mean over seeds with the runs' range, and what counts."""
    lines: list[str] = []
    for voice in VOICES:
        runs = studies.finished_runs(output_dir / voice)
        if not runs:
            continue
        base, tuned = ([figures_of(each, system) for each in runs] for system in ("base", "tuned"))
        settings: defaultdict[Setting, list[tuple[Figures, Figures]]] = defaultdict(list)
        for each, before, after in zip(runs, base, tuned, strict=True):
            settings[setting_of(each)].append((before, after))
        columns = studies.measured_columns([*base, *tuned], [*RESIDUALS, *SPOKEN])
        lines += [f"\n### {voice} ({len(runs)} runs)\n", *_header("", columns), _row("base", base, columns)]
        for name, rate, replay in sorted(settings, key=lambda each: (list(RATES).index(each[0]), each[2], each[1])):
            figures = [after for _, after in settings[name, rate, replay]]
            lines.append(_row(f"{name}, {rate:g}, {replay}", figures, columns))
        spoken = [column for column in columns if column in SPOKEN]
        lines += ["", *_header("what counts", spoken), *_differences(settings, spoken)]
    return "\n".join(lines)


def _differences(settings: defaultdict[Setting, list[tuple[Figures, Figures]]], columns: Sequence[str]) -> list[str]:
    """What each setting changed, and what replay changed of it; `=` where nothing counts."""
    lines = []
    for (name, rate, replay), pairs in sorted(settings.items(), key=lambda item: (item[0][2], str(item[0]))):
        lines.append(_counts(f"{name}, {rate:g}, {replay}: against base", pairs, columns))
    for (name, rate, replay), pairs in sorted(settings.items(), key=str):
        without = settings.get((name, rate, NO_REPLAY), [])
        if replay == REPLAY and len(without) == len(pairs):
            replayed = [(before, after) for (_, before), (_, after) in zip(without, pairs, strict=True)]
            lines.append(_counts(f"{name}, {rate:g}: replay against none", replayed, columns))
    return lines


def _counts(title: str, pairs: Sequence[tuple[Figures, Figures]], columns: Sequence[str]) -> str:
    changes = [change_that_counts(pairs, column) for column in columns]
    cells = ["=" if each is None else f"{each:+.{_digits(name)}f}" for each, name in zip(changes, columns, strict=True)]
    return f"| {title} | {' | '.join(cells)} |"


def _digits(column: str) -> int:
    return 3 if column.endswith("CER") else 2


def _header(title: str, columns: Sequence[str]) -> list[str]:
    return [f"| {title} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]


def _row(name: str, runs: Sequence[Figures], columns: Sequence[str]) -> str:
    cells = [studies.mean_and_range([each[column].mean for each in runs], _digits(column)) for column in columns]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    run_script(main)
