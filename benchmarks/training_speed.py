"""Our training step and the official one on the same rows, in turns in one process.

A step is everything from the rows to moved weights: forward, backward, clipping, optimizer, average of the weights.
The official code makes its batches in further processes, so here they lie ready; ours makes its batch in the step on a
CPU, and in further processes beside a GPU. The official code comes unpacked from PyPI's sdist of pocket-tts; what our
strategy freezes is frozen there by hand. Its LSD term is computed in a quarter of its steps, so means are over the
expected number of those. Model weights are random but for the embedded model.

    pip download --no-binary :all: --no-deps pocket-tts==4.0.1 && tar xf pocket_tts-4.0.1.tar.gz
    python -m benchmarks.training_speed --official pocket_tts-4.0.1 --output-dir speed --layers 6
    python -m benchmarks.training_speed --official pocket_tts-4.0.1 --output-dir speed_nano --layers nano
    python -m benchmarks.training_speed --official pocket_tts-4.0.1 --output-dir gpu --layers 24 --device cuda \\
        --precision bf16-mixed --batch-size 64 --strategies full --compile
"""

import datetime
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import measuring
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.rows import PocketTTSBatch
from calm_ft.atomic_file import write_text
from calm_ft.config import compose_config, experiment_from
from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import CacheEntry, FeatureCache
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError, run_script
from calm_ft.finetuning.ema import ExponentialMovingAverage
from calm_ft.randomness import make_rng
from calm_ft.training.datamodule import workers_beside_a_gpu
from calm_ft.training.experiment import Experiment
from calm_ft.training.record import code_version
from calm_ft.training.residuals import to_device
from tools.nano.assets import everyday_sentences
from tools.nano.released_shape import RELEASED, write_released_shape

STRATEGIES = ("head_only", "last_n_layers", "lora", "full")
NANO = "nano"
FRAMES_A_SEC = 12.5
FIXED_FRAMES = 75
POOL = 5
"""Batches that the official loader sorts together by length (its `num_bucket_batches`)."""
NATURAL_MEDIAN_SEC, NATURAL_LOG_SPREAD = 5.0, 0.6
LSD_SHARE = 0.25
MIN_CLIPS = 80
EMA_DECAY = 0.999
WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Step:
    """One timed step."""

    wall_sec: float
    processor_sec: float
    num_frames: int
    has_lsd: bool
    peak_gb: float
    """What the step took of a GPU's memory, beside what it found there."""


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--official", type=Path, required=True, help="the unpacked sdist of pocket-tts")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--layers", choices=[NANO, *map(str, sorted(RELEASED))], default="6")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument(
        "--lengths", choices=("fixed", "natural"), default="fixed", help="75 frames each, or 1.5 to 20 s"
    )
    parser.add_argument("--batch-size", type=measuring.positive, default=4, help="clips of 75 frames (default: 4)")
    parser.add_argument("--turns", type=measuring.positive, default=16, help="steps of each (default: 16)")
    parser.add_argument("--threads", type=measuring.positive, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument(
        "--compile", action="store_true", help="both by torch.compile, as the official code is on a GPU"
    )
    given = parser.parse_args()
    if not (given.official / "training" / "modules" / "model.py").is_file():
        raise UserError(f"--official {given.official} holds no training/modules/model.py: unpack pocket-tts's sdist.")
    sys.path.append(str(given.official.absolute()))
    folder = measuring.new_folder(given.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    model = None if given.layers == NANO else write_released_shape(folder / "model", int(given.layers))
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    results: dict[str, Any] = {
        "date": f"{datetime.date.today()}",
        "code": code_version(),
        "pocket_tts": version("pocket-tts"),
        "machine": measuring.machine(given.device) | {"processor": measuring.processor()},
        **{name: getattr(given, name) for name in ("layers", "lengths", "batch_size", "turns", "precision", "compile")},
        "matmul_gflops": matmul_gflops(device),
        "strategies": {},
    }
    for strategy in given.strategies:
        figures = compare(strategy, model, given, device, folder / "cache")
        results["strategies"][strategy] = figures
        write_text(folder / "training_speed.json", json.dumps(results, indent=1) + "\n")
        print(table({strategy: figures}), flush=True)
    print(f"\n{table(results['strategies'])}\nwrote {folder / 'training_speed.json'}")


def compare(strategy: str, model: Path | None, given: Any, device: torch.device, cache_dir: Path) -> dict[str, Any]:
    """Steps of ours and of the official code in turns, on the same batches."""
    experiment = experiment_of(strategy, model)
    autocast = autocast_of(device, given.precision)
    adapter = adapter_of(experiment, device)
    num_clips = max(MIN_CLIPS, POOL * given.batch_size)
    clips = make_clips(adapter, given.lengths, num_clips, cache_dir / "features")
    max_frames = given.batch_size * FIXED_FRAMES
    batches = ours_batches(clips, max_frames)
    ours = OurStep(experiment, adapter, batches, autocast, cache_dir, max_frames)
    gflop = gflop_of(ours.step)
    rounds: dict[str, OurStep | OfficialStep] = {"ours": ours}
    if strategy != "lora":  # which the official code has not
        official = official_batches(clips, given.batch_size)
        rounds["official"] = OfficialStep(experiment, adapter, official, device, autocast)
    warmup_sec = {name: warm_up(each, given.compile, device) for name, each in rounds.items()}
    compiled = num_compiled()
    steps: dict[str, list[Step]] = {name: [] for name in rounds}
    for _ in range(given.turns):
        for name, each in rounds.items():
            steps[name].append(timed(each.step, device))
    figures: dict[str, dict[str, Any]] = {name: summary(each) for name, each in steps.items()}
    for name, sec in warmup_sec.items():
        figures[name] |= {"warmup_sec": sec}
    figures["ours"] |= {"gflop_a_step": gflop, "kept_rows": ours.num_kept}
    if given.compile:
        figures["compiled_while_timed"] = {"graphs": num_compiled() - compiled}
    if "official" in figures:
        figures["ratio"] = ratio(steps["official"], steps["ours"])
    return figures


def experiment_of(strategy: str, model: Path | None) -> Experiment:
    own = ["adapter=nano"] if model is None else ["adapter=pocket_tts", f"adapter.model={model}"]
    # Upstream drops text and voice where a null branch is kept; here neither side does, so that the rows are the same.
    own += ["+adapter.conditioning_dropout=0"]
    return experiment_from(compose_config([f"experiment={strategy}", "logger=csv", *own]))


def adapter_of(experiment: Experiment, device: torch.device) -> PocketTTSAdapter:
    num_threads = torch.get_num_threads()
    adapter = experiment.adapter_factory()
    torch.set_num_threads(num_threads)
    assert isinstance(adapter, PocketTTSAdapter)
    return adapter.to(device)


def autocast_of(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[Any]]:
    if precision == "32-true":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def make_clips(adapter: PocketTTSAdapter, lengths: str, num_clips: int, folder: Path) -> list[EncodedUtterance]:
    """Clips of random latents whose texts are as long as a reader's would be."""
    rng = make_rng(0, "training_speed")
    cache, lm = FeatureCache(folder, f"{lengths}-{adapter.flow_lm.ldim}"), adapter.flow_lm
    words = " ".join(everyday_sentences(0).train).split()
    clips = []
    for number, num_frames in enumerate(frames_of(lengths, num_clips)):
        key = f"clip{number}"
        noise = torch.randn(num_frames, lm.ldim, generator=rng)
        latents = (noise * lm.emb_std.cpu() + lm.emb_mean.cpu()).float()
        features = {"latents": latents, "energy_db": 10 * torch.randn(num_frames, generator=rng)}
        if key not in cache:
            cache.write_shard({key: CacheEntry(features, num_frames, num_frames / FRAMES_A_SEC)})
        start, num_words = 7 * number, max(1, round(num_frames / FRAMES_A_SEC * 2.5))
        text = " ".join(words[(start + place) % len(words)] for place in range(num_words))
        utterance = Utterance(key, Path(f"{key}.wav"), text)
        clips.append(EncodedUtterance(utterance, num_frames, num_frames / FRAMES_A_SEC, key, cache))
    return clips


def frames_of(lengths: str, num_clips: int) -> list[int]:
    if lengths == "fixed":
        return [FIXED_FRAMES] * num_clips
    drawn = np.random.default_rng(0).normal(math.log(NATURAL_MEDIAN_SEC), NATURAL_LOG_SPREAD, num_clips)
    return [round(sec * FRAMES_A_SEC) for sec in np.exp(drawn).clip(1.5, 20.0)]


def examples_of(clips: Sequence[EncodedUtterance], places: Sequence[int]) -> list[Example]:
    """Rows of these clips, each prompted by the next clip; a clip's row is always the same."""
    return [Example(clips[place], clips[(place + 1) % len(clips)], place, row) for row, place in enumerate(places)]


def ours_batches(clips: Sequence[EncodedUtterance], max_frames: int) -> list[list[Example]]:
    """An epoch as training plans it."""
    plan = BatchPlan([clip.num_frames for clip in clips], max_frames, None, seed=0)
    return [examples_of(clips, plan.batch(index)) for index in range(plan.num_batches_first_epoch)]


def official_batches(clips: Sequence[EncodedUtterance], batch_size: int) -> list[list[Example]]:
    """An epoch as the official loader plans it: shuffled, sorted by length within pools of `POOL` batches."""
    order = np.random.default_rng(0).permutation(len(clips)).tolist()
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = sorted(order[start : start + POOL * batch_size], key=lambda place: clips[place].num_frames)
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    return [examples_of(clips, places) for places in batches if len(places) == batch_size]


class OurStep:
    """A training step of this project, without Lightning's loop."""

    def __init__(
        self,
        experiment: Experiment,
        adapter: PocketTTSAdapter,
        batches: Sequence[list[Example]],
        autocast: Callable[[], AbstractContextManager[Any]],
        cache_dir: Path,
        max_frames: int,
    ) -> None:
        self.adapter = adapter
        self.device = adapter.flow_lm.bos_emb.device
        self.autocast = autocast
        strategy, factory = experiment.strategy, experiment.optimizer
        strategy.apply(adapter, factory.lr)
        self.trained = [p for p in adapter.parameters() if p.requires_grad]
        self.optimizer, _ = factory.build(strategy.trained_components(adapter), num_steps=1000)
        self.ema = ExponentialMovingAverage(adapter, EMA_DECAY)
        self.num_kept = self._keep(batches, cache_dir)
        self.batches = enumerate(self._loaded(batches))

    def _loaded(self, batches: Sequence[list[Example]]) -> Iterator[PocketTTSBatch]:
        """Made in the step on a CPU; beside a GPU by further processes, as a run's and the official code's are."""
        if self.device.type == "cpu":
            yield from (self.adapter.collate(each) for each in cycle(batches))
        rows = MadeBatches(self.adapter, batches)
        while True:
            yield from DataLoader(rows, batch_size=None, num_workers=workers_beside_a_gpu(1), pin_memory=True)

    def _keep(self, batches: Sequence[list[Example]], cache_dir: Path) -> int:
        """Run the frozen layers once, as a run does before its first step."""
        fingerprint = self.adapter.trunk_fingerprint()
        if fingerprint is None:
            return 0
        cache = FeatureCache(cache_dir / "trunk", fingerprint)
        for batch in batches:
            outputs = self.adapter.trunk_outputs(batch)
            cache.write_shard(
                {
                    self.adapter.trunk_key(row): CacheEntry(kept, row.target.num_frames, row.target.duration_sec)
                    for row, kept in zip(batch, outputs, strict=True)
                }
            )
        self.adapter.trunk_cache = cache
        return len(cache)

    def compile(self) -> None:
        self.adapter.compile_training()

    def step(self) -> tuple[int, bool]:
        """Frames of the step, and whether it had an LSD term: all have."""
        index, made = next(self.batches)
        batch = to_device(made, self.device)
        with self.autocast():
            loss = self.adapter.loss(batch, make_rng(0, "train", index % MadeBatches.LENGTH)).total
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update()
        return sum(batch.lengths), True


class MadeBatches(Dataset[PocketTTSBatch]):
    """Batches with their draws, over and over."""

    LENGTH = 10_000

    def __init__(self, adapter: PocketTTSAdapter, batches: Sequence[list[Example]]) -> None:
        self.adapter, self.batches = adapter, batches

    def __len__(self) -> int:
        return self.LENGTH

    def __getitem__(self, index: int) -> PocketTTSBatch:
        batch = self.adapter.collate(self.batches[index % len(self.batches)])
        return self.adapter.with_draws(batch, make_rng(0, "train", index))


class OfficialStep:
    """A step of upstream's training loop (sdist, training/train.py) on rows that our adapter made."""

    def __init__(
        self,
        experiment: Experiment,
        ours: PocketTTSAdapter,
        batches: Sequence[list[Example]],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        from training.args import TrainArgs
        from training.checkpointing import EMA
        from training.modules.model import TrainableTTS
        from training.modules.samplers import LSD

        self.autocast, self.device = autocast, device
        num_draws = ours.num_times * ours.objective.noise_sampler.num_per_time
        args = TrainArgs(text_dropout=0.0, voice_dropout=0.0, flow_batch_multiplier=num_draws)
        adapter = adapter_of(experiment, device)
        self.model = TrainableTTS(adapter.flow_lm, LSD(), args).to(device).train()
        trained = {name for name, p in ours.flow_lm.named_parameters() if p.requires_grad}
        for name, parameter in self.model.flow_lm.named_parameters():
            parameter.requires_grad_(name in trained)
        # As its train_utils.build_optimizer makes it, which takes a package for audio.
        self.optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=args.optim.lr,
            betas=args.optim.betas,
            weight_decay=args.optim.weight_decay,
            fused=device.type == "cuda",
        )
        self.ema = EMA(self.model, EMA_DECAY)
        self.max_norm = args.optim.max_norm
        collated = [to_device(ours._collate([ours._row(row) for row in each]), device) for each in batches]
        self.batches: Iterator[dict[str, Any]] = cycle([official_rows(batch) for batch in collated])

    def compile(self) -> None:
        """As upstream's train_utils does, which takes a package for audio."""
        for layer in self.model.flow_lm.transformer.layers:
            layer.compile(dynamic=True)
        self.model.flow_lm.flow_net.compile(dynamic=True)

    def step(self) -> tuple[int, bool]:
        """Frames of the step, and whether it had an LSD term."""
        batch = next(self.batches)
        self.optimizer.zero_grad()
        with self.autocast():
            loss, metrics = self.model(**batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        self.ema.update(self.model)
        return int(batch["mask"].sum()), "flow_distill" in metrics


def official_rows(batch: PocketTTSBatch) -> dict[str, Any]:
    tokens = [row[valid].cpu() for row, valid in zip(batch.text_tokens, batch.text_mask, strict=True)]
    return {
        "latents": batch.latents,
        "mask": batch.frame_mask,
        "text_tokens": tokens,
        "voice_latents": batch.prompt_latents,
        "num_voice_prompt_frames": batch.prompt_mask.sum(dim=1).cpu(),
    }


def timed(step: Callable[[], tuple[int, bool]], device: torch.device) -> Step:
    before_gb = allocated_gb(device)
    wait_for(device)
    wall_sec, processor_sec = time.perf_counter(), time.process_time()
    num_frames, has_lsd = step()
    wait_for(device)
    taken_sec = time.perf_counter() - wall_sec, time.process_time() - processor_sec
    return Step(*taken_sec, num_frames, has_lsd, peak_gb(device) - before_gb)


def warm_up(run: "OurStep | OfficialStep", by_compiling: bool, device: torch.device) -> float:
    """Seconds until every length and, of the official code, both kinds of step have been met."""
    started = time.perf_counter()
    if by_compiling:
        run.compile()
    kinds: set[bool] = set()
    num_steps = 0
    while num_steps < WARM_UP_STEPS or (by_compiling and isinstance(run, OfficialStep) and len(kinds) < 2):
        kinds.add(run.step()[1])
        num_steps += 1
    wait_for(device)
    return time.perf_counter() - started


def num_compiled() -> int:
    """Graphs that torch.compile has made so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def summary(steps: Sequence[Step]) -> dict[str, float]:
    wall_sec = expected([1000 * step.wall_sec / step.num_frames for step in steps], steps)
    return {
        "wall_ms_a_frame": wall_sec,
        "processor_ms_a_frame": expected([1000 * step.processor_sec / step.num_frames for step in steps], steps),
        "x_real_time": 1000 / FRAMES_A_SEC / wall_sec,
        "mean_frames": mean(step.num_frames for step in steps),
        "peak_gb": max(step.peak_gb for step in steps),
    }


def expected(values: Sequence[float], steps: Sequence[Step]) -> float:
    """The mean over steps, with the share of LSD steps that upstream draws."""
    with_lsd = [value for value, step in zip(values, steps, strict=True) if step.has_lsd]
    without = [value for value, step in zip(values, steps, strict=True) if not step.has_lsd]
    if not without or not with_lsd:
        return mean(values)
    return LSD_SHARE * mean(with_lsd) + (1 - LSD_SHARE) * mean(without)


def ratio(official: Sequence[Step], ours: Sequence[Step]) -> dict[str, float]:
    """Official over ours for each frame, and its standard error from those of the two means."""
    found: dict[str, float] = {}
    for name in ("wall_sec", "processor_sec"):
        means, errors = [], []
        for steps in (official, ours):
            values = [getattr(step, name) / step.num_frames for step in steps]
            means.append(expected(values, steps))
            errors.append(error_of_expected(values, steps) / means[-1])
        key = name.removesuffix("_sec")
        found[key] = means[0] / means[1]
        found[f"{key}_error"] = found[key] * math.hypot(*errors)
    return found


def error_of_expected(values: Sequence[float], steps: Sequence[Step]) -> float:
    """The standard error of `expected`."""
    groups = [
        [value for value, step in zip(values, steps, strict=True) if step.has_lsd is lsd] for lsd in (True, False)
    ]
    weights = (LSD_SHARE, 1 - LSD_SHARE) if all(groups) else (1.0, 1.0)
    errors = [
        weight * stdev(group) / math.sqrt(len(group)) if len(group) > 1 else 0.0
        for weight, group in zip(weights, groups, strict=True)
    ]
    return math.hypot(*errors)


def gflop_of(step: Callable[[], Any]) -> float:
    """Arithmetic of the matrix products of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def matmul_gflops(device: torch.device, num: int = 10) -> dict[str, float]:
    """What products of large matrices reach here, by dtype: to judge how much of it a step reaches."""
    found = {}
    size = 8192 if device.type == "cuda" else 1024
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        for _ in range(2):
            left @ right
        wait_for(device)
        started = time.perf_counter()
        for _ in range(num):
            left @ right
        wait_for(device)
        found[str(dtype).removeprefix("torch.")] = 2 * size**3 * num / (time.perf_counter() - started) / 1e9
    return found


def allocated_gb(device: torch.device) -> float:
    """Of a GPU; counting of the peak begins anew."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 1e9


def peak_gb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0


def table(strategies: dict[str, dict[str, Any]]) -> str:
    """Milliseconds of wall time for each frame of speech, speed, and the ratio with its standard error."""
    lines = [
        "| strategy | official, ms a frame | ours | ours, x real time | official / ours |",
        "|---|---|---|---|---|",
    ]
    for name, figures in strategies.items():
        official = figures.get("official")
        theirs = "-" if official is None else f"{official['wall_ms_a_frame']:.2f}"
        compared = "-" if official is None else f"{figures['ratio']['wall']:.2f} ({figures['ratio']['wall_error']:.2f})"
        ours = figures["ours"]
        lines.append(f"| {name} | {theirs} | {ours['wall_ms_a_frame']:.2f} | {ours['x_real_time']:.0f} | {compared} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
