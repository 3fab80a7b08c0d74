"""Speaking several texts together against one by one, and a text in pieces against the whole: time and ratios.

Both ways speak the same demo sentences with the same noise, in turns, in one process. A ratio is that of the smallest
wall times, since other programs can only slow a run down; beside it stand that of the medians and that of the smallest
processor times, which other programs hardly touch. `codec` is the part that is decoded row by row in both ways. A model
of the released size has random weights and never ends by itself: its cost is measured.

    python -m benchmarks.batched_synthesis --output batched_synthesis.json
    python -m benchmarks.batched_synthesis --real-size 6 --rows 8 --threads 2 --repeats 2 --output real_size.json
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pocket_tts.modules.stateful_module import ModelState

from benchmarks.measuring import machine, parser_of, positive
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.synthesis import MAX_ROWS, decode_audio
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS, compose_config, experiment_from
from calm_ft.config.overrides import tidy_arguments
from calm_ft.errors import run_script
from tools.nano.released_shape import RELEASED, write_released_shape

DEMO = ASSETS / "demo_voice" / "train"
NEVER_ENDS = 1e9
STREAMED_TEXT = "The river rose slowly over its banks, and in the morning the bridge was gone."


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--real-size", type=int, choices=sorted(RELEASED), help="layers (default: the embedded model)")
    parser.add_argument("--rows", type=positive, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=positive, default=5)
    given = parser.parse_args()
    adapter = load(given.real_size)
    voice = adapter.load_voice(sorted(DEMO.glob("*.ogg"))[0])
    results: dict[str, Any] = {
        "model": f"random weights, {given.real_size} layers" if given.real_size else "nano",
        "machine": machine(),
        "most_rows": MAX_ROWS,
        "repeats": given.repeats,
        "together": [],
        "in_pieces": [],
    }
    for num_threads in given.threads:
        torch.set_num_threads(num_threads)
        for num_rows in given.rows:
            figures = {"threads": num_threads, **measure_rows(adapter, voice, num_rows, given.repeats)}
            print(json.dumps(figures), flush=True)
            results["together"].append(figures)
        figures = {"threads": num_threads, **measure_pieces(adapter, voice, given.repeats)}
        print(json.dumps(figures), flush=True)
        results["in_pieces"].append(figures)
    write_text(given.output, json.dumps(results, indent=2) + "\n")


def load(num_layers: int | None) -> PocketTTSAdapter:
    """The embedded model, or one of random weights that never ends by itself."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_released_shape(Path(folder), num_layers) if num_layers else ASSETS / "nano"
        config = compose_config(tidy_arguments(["adapter=pocket_tts", f"adapter.model={model}", "logger=csv"]))
        adapter: PocketTTSAdapter = experiment_from(config).adapter_factory().eval()
    if num_layers:
        adapter.tts.eos_threshold = NEVER_ENDS
    return adapter


def measure_rows(adapter: PocketTTSAdapter, voice: ModelState, num_rows: int, repeats: int) -> dict[str, Any]:
    """Demo sentences spoken one by one and together, and the codec's part of it."""
    texts = [path.read_text(encoding="utf-8").strip() for path in sorted(DEMO.glob("*.txt"))[:num_rows]]
    seeds = list(range(num_rows))
    spoken = adapter.synthesize(texts, voice, seeds)  # also sets up what later calls find ready
    latents = [torch.zeros(len(each.audio) // adapter.mimi.frame_size, adapter.flow_lm.ldim) for each in spoken]
    times = in_turns(
        {
            "one_by_one": lambda: [
                adapter.synthesize([text], voice, [seed]) for text, seed in zip(texts, seeds, strict=True)
            ],
            "together": lambda: adapter.synthesize(texts, voice, seeds),
            "codec": lambda: [decode_audio(adapter.tts, each) for each in latents],
        },
        repeats,
    )
    audio_sec = sum(len(each.audio) for each in spoken) / adapter.sample_rate_hz
    return {
        "rows": num_rows,
        "audio_sec": round(audio_sec, 2),
        **summary(times, "together", "one_by_one"),
        "together_x_real_time": round(audio_sec / min(wall for wall, _ in times["together"]), 1),
    }


def measure_pieces(adapter: PocketTTSAdapter, voice: ModelState, repeats: int) -> dict[str, Any]:
    """One text: time to its first piece, to its last, and as a whole."""
    times = in_turns(
        {
            "first_piece": lambda: next(adapter.stream(STREAMED_TEXT, voice, 0)),
            "all_pieces": lambda: list(adapter.stream(STREAMED_TEXT, voice, 0)),
            "whole": lambda: adapter.synthesize([STREAMED_TEXT], voice, 0),
        },
        repeats,
    )
    audio = adapter.synthesize([STREAMED_TEXT], voice, 0)[0].audio
    return {
        "audio_sec": round(len(audio) / adapter.sample_rate_hz, 2),
        **summary(times, "first_piece", "whole"),
    }


Times = dict[str, list[tuple[float, float]]]


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> Times:
    """(wall, processor) seconds of each way and repeat.

    The ways take turns, so that what else the machine does meets all of them.
    """
    times: Times = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started, started_cpu = time.perf_counter(), time.process_time()
            way()
            times[name].append((time.perf_counter() - started, time.process_time() - started_cpu))
    return times


def summary(times: Times, fast: str, slow: str) -> dict[str, float]:
    """Smallest and median wall seconds of each way, and how many times `fast` fits into `slow`."""
    figures: dict[str, float] = {}
    for name, each in times.items():
        walls = [wall for wall, _ in each]
        figures |= {f"{name}_sec": round(min(walls), 4), f"{name}_sec_median": round(statistics.median(walls), 4)}

    def ratio(pick: Callable[[list[float]], float], clock: int) -> float:
        one, other = ([pair[clock] for pair in times[name]] for name in (slow, fast))
        return round(pick(one) / pick(other), 2)

    ratios = {"ratio": ratio(min, 0), "ratio_median": ratio(statistics.median, 0), "ratio_processor": ratio(min, 1)}
    return {**figures, **ratios}


if __name__ == "__main__":
    run_script(main)
