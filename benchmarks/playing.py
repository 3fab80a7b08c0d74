"""Playing faster: what a bfloat16 file and int8 weights gain in time, memory and size, and what they cost in speech.

Time, of the clock and of the processor: fp32, bf16 and int8 say the same text with the same noise, in turns in one
process, and every ratio is of two that are neighbours in time. A model of the released size has random weights and
speaks to a length limit: what is measured there is cost, not speech. Memory is the peak of a process that loads the
export and says the text once.

Speech: a short run of the embedded model on the demo voice, and its base, say the held-out sentences with three noises
each. Every clip is paired with what float32 says of the same sentence and noise; intervals are over sentences.

    python -m benchmarks.playing --output-dir playing --models nano pocket_tts_6 chatterbox
    python -m benchmarks.playing --output-dir playing_speech --models nano --speech
"""

import datetime
import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import measuring
from benchmarks.measuring import measure_command, positive, size_mb
from benchmarks.paired import DIGITS
from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.tiny import write_random_files
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.reduced import DTYPES
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import run_script
from calm_ft.metrics.bootstrap import Values, paired_interval
from calm_ft.report.result import BASE, TUNED, read_utterances
from calm_ft.runs import adapter_for
from calm_ft.runs.exports import own_voice
from calm_ft.training.record import code_version
from tools.nano.released_shape import write_released_shape

DEMO = ASSETS / "demo_voice"
MODELS: Mapping[str, Callable[[Path], Path]] = {
    "nano": lambda folder: ASSETS / "nano",
    "pocket_tts_6": lambda folder: write_released_shape(folder / "pocket_tts_6", 6),
    "chatterbox": lambda folder: write_random_files(folder / "chatterbox"),
}
TEXT = "The river rose slowly over its banks, and in the morning the bridge was gone."
NEVER_ENDS = 1e9
MAX_SPEECH_TOKENS = 15
"""So that Chatterbox's turn takes less than a minute. S3Gen's part of so short a text is larger than usual."""
WEIGHTS = ("fp32", "bf16", "int8")
PROBE = "from benchmarks.playing import probe; probe()"
NUM_NOISES = 3


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--output-dir", type=Path, required=True, help="an empty or new folder; it takes up to 9 GB")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=["nano", "pocket_tts_6"])
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=positive, default=5)
    parser.add_argument("--speech", action="store_true", help="measure what is said too, after the times")
    parser.add_argument("--steps", type=positive, default=200, help="of the run that speaks (200)")
    given = parser.parse_args()
    folder = measuring.new_folder(given.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "date": f"{datetime.date.today()}",
        "code": code_version(),
        "versions": {name: version(name) for name in ("torch", "pocket-tts", "chatterbox-tts")},
        "machine": measuring.machine() | {"processor": measuring.processor()},
        "turns": given.turns,
        "text": TEXT,
        "models": {},
    }

    def keep() -> None:
        write_text(folder / "playing.json", json.dumps(results, indent=1) + "\n")

    for name in given.models:
        exports = write_exports(MODELS[name](folder), folder / f"{name}_exports")
        results["models"][name] = files_and_memory(exports)
        for num_threads in given.threads:
            timed = measure(exports, num_threads, given.turns)
            results["models"][name][f"threads_{num_threads}"] = timed
            print(json.dumps({name: {num_threads: timed}}), flush=True)
            keep()
    if given.speech:
        results["speech"] = {"steps": given.steps, "noises": NUM_NOISES, **speech(folder, given.steps)}
    keep()
    print(f"wrote {folder / 'playing.json'}")


def write_exports(model: Path, folder: Path) -> dict[str, Path]:
    """The model's export in float32 and in bfloat16, by the names of `WEIGHTS` that are played from them."""
    adapter = adapter_for(str(model))
    voice = sorted((DEMO / "train").glob("*.ogg"))[0]
    exports = {}
    for name in ("fp32", "bf16"):
        adapter.export_as(DTYPES[name])
        adapter.export(folder / name, voice)
        exports[name] = folder / name
    return {**exports, "int8": exports["fp32"]}


def files_and_memory(exports: Mapping[str, Path]) -> dict[str, Any]:
    """Size of all files of an export, and the peak memory and time of a process that loads it and speaks once."""
    found: dict[str, Any] = {}
    for name in WEIGHTS:
        command = [sys.executable, "-c", PROBE, str(exports[name]), name]
        cost, _ = measure_command(command)
        found[name] = {"files_mb": size_mb(exports[name]), "load_and_speak": cost}
    return found


def probe() -> None:
    """In a process of its own: load the export in sys.argv, play it with the weights named there, speak once."""
    export, weights = sys.argv[1:]
    torch.set_num_threads(1)
    adapter = load(Path(export), weights)
    adapter.synthesize([TEXT], adapter.load_voice(own_voice(export)), seed=0)


def load(export: Path, weights: str) -> TTSAdapter:
    """An export as it is played; random weights do not end by themselves, so that all say equally much."""
    adapter = adapter_for(str(export)).eval()
    if isinstance(adapter, ChatterboxAdapter):
        adapter.max_speech_tokens = MAX_SPEECH_TOKENS
    elif isinstance(adapter, PocketTTSAdapter) and not adapter.is_miniature:
        adapter.tts.eos_threshold = NEVER_ENDS
    return adapter.quantized() if weights == "int8" else adapter


Times = dict[str, list[float]]
"""Kind of weights -> seconds of each turn."""


@torch.no_grad()
def measure(exports: Mapping[str, Path], num_threads: int, turns: int) -> dict[str, Any]:
    """Seconds to speak a second, to the first audio, and to a speech token, of each kind of weights in turns."""
    adapters = {name: load(exports[name], name) for name in WEIGHTS}
    torch.set_num_threads(num_threads)  # behind loading, where upstream sets it to 1
    voice = adapters["fp32"].load_voice(own_voice(str(exports["fp32"])))
    audio_sec = 0.0
    for adapter in adapters.values():  # the first call sets up what later ones find ready
        (said,) = adapter.synthesize([TEXT], voice, seed=0)
        audio_sec = len(said.audio) / said.sample_rate_hz
    figures: dict[str, Times] = {}
    for turn in range(turns):
        for name, adapter in adapters.items():
            for figure, seconds in timed(adapter, voice, turn).items():
                figures.setdefault(figure, {each: [] for each in WEIGHTS})[name].append(seconds)
    return {
        "audio_sec": round(audio_sec, 2),
        **{figure: {name: summary(each) for name, each in times.items()} for figure, times in figures.items()},
        "times_as_fast": {
            name: {figure: ratios(times, name) for figure, times in figures.items()} for name in WEIGHTS[1:]
        },
    }


def timed(adapter: TTSAdapter, voice: Any, seed: int) -> dict[str, float]:
    """The figures of one turn of one adapter. Processor time is hardly touched by what else the machine does."""
    started, started_cpu = time.perf_counter(), time.process_time()
    (said,) = adapter.synthesize([TEXT], voice, seed)
    spoken_sec, processor_sec = time.perf_counter() - started, time.process_time() - started_cpu
    audio_sec = len(said.audio) / said.sample_rate_hz
    found = {"real_time_factor": spoken_sec / audio_sec, "processor_factor": processor_sec / audio_sec}
    if isinstance(adapter, PocketTTSAdapter):
        pieces = adapter.stream(TEXT, voice, seed)
        started = time.perf_counter()
        next(pieces)
        return found | {"first_audio_sec": time.perf_counter() - started}
    if isinstance(adapter, ChatterboxAdapter):  # which has no audio before the last token
        sampling = adapter._sampling(adapter.playing)
        torch.manual_seed(seed)
        started = time.perf_counter()
        drawn = adapter._draw(voice, adapter.text.tokens(TEXT), sampling)
        found |= {"t3_token_sec": (time.perf_counter() - started) / len(drawn.tokens), "first_audio_sec": spoken_sec}
    return found


def summary(values: list[float]) -> dict[str, float]:
    return {"median": round(median(values), 4), "low": round(min(values), 4), "high": round(max(values), 4)}


def ratios(times: Times, name: str) -> dict[str, float]:
    """How many times as fast as float32 of the same turn: the median over turns, the lowest and the highest."""
    return summary([whole / each for whole, each in zip(times["fp32"], times[name], strict=True)])


def speech(folder: Path, num_steps: int) -> dict[str, Any]:
    """What base and tuned model lose by bfloat16 and by int8, in differences from what they say in float32."""
    run = folder / "run"
    train = ["experiment=demo", "trainer.accelerator=cpu", f"trainer.max_steps={num_steps}", f"output_dir={run}"]
    measure_command(measuring.train_command(*train, f"data.cache_dir={folder / 'cache'}", "evaluation.num_sentences=0"))
    reduced = folder / "run_bf16"
    export = [sys.executable, "-m", "calm_ft.export", str(run), "--dtype", "bf16", "--output-dir", str(reduced)]
    measure_command(export)
    scores = {}
    for name, model in (("fp32", [run]), ("bf16", [reduced, "--of", run]), ("int8", [run, "--quantize"])):
        place = folder / f"evaluation_{name}"
        chosen = ["--num-seeds", NUM_NOISES, "--base-sentences", 0, "--heldout-path", DEMO / "heldout"]
        command = [sys.executable, "-m", "calm_ft.evaluate", *model, *chosen, "--output-dir", place, "--device", "cpu"]
        measure_command([str(each) for each in command])
        scores[name] = read_scores(place)
    return {
        f"{name}, {system}": {figure: difference(scores, name, system, figure) for figure in DIGITS}
        for name, system in (("bf16", TUNED), ("int8", BASE), ("int8", TUNED))
    }


def read_scores(folder: Path) -> dict[tuple[str, str], dict[tuple[int, int], float]]:
    """(system, figure) -> (sentence, noise) -> value."""
    found: dict[tuple[str, str], dict[tuple[int, int], float]] = {}
    for row in read_utterances(folder):
        for figure in DIGITS:
            value = row.metrics.get(figure)
            if row.voice is None and value is not None:
                found.setdefault((row.system, figure), {})[row.index, row.seed] = value
    return found


def difference(
    scores: Mapping[str, Mapping[tuple[str, str], Values]], name: str, system: str, figure: str
) -> dict[str, Any]:
    """The mean in float32, the paired difference from it with its interval, and that of each noise."""
    whole, values = (scores[each].get((system, figure), {}) for each in ("fp32", name))
    interval = paired_interval(values, whole)
    by_noise = []
    for noise in range(NUM_NOISES):
        changes = [value - whole[key] for key, value in values.items() if key[1] == noise and key in whole]
        by_noise.append(sum(changes) / len(changes) if changes else None)
    return {
        "in_fp32": sum(whole.values()) / len(whole) if whole else None,
        "change": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "num_sentences": interval.n,
        "by_noise": by_noise,
    }


if __name__ == "__main__":
    run_script(main)
