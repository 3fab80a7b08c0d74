"""The most frames a batch that fit are found by real steps, which leave everything as it was."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.split import Split
from calm_ft.errors import UserError
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Full, HeadOnly, Strategy
from calm_ft.randomness import make_rng
from calm_ft.training import device_memory
from calm_ft.training.batch_budget import Found, find_max_frames, largest_fitting, numbers_to_try
from calm_ft.training.datamodule import BatchLimits, EncodedSource, RecordingsDataModule
from calm_ft.training.residuals import to_device
from calm_ft.training.trainer import build_trainer
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import adamw, copy_short_clips, encode

ROOT = Path(__file__).parents[2]
NUM_COPIES = 20


def many(clips: list[EncodedUtterance]) -> list[EncodedUtterance]:
    """The clips again and again under other names, as many as fill large batches."""
    return [
        replace(clip, utterance=replace(clip.utterance, id=f"{clip.utterance.id}-{number}"))
        for number in range(NUM_COPIES)
        for clip in clips
    ]


def datamodule(
    adapter: TTSAdapter, clips: list[EncodedUtterance], max_batch_size: int | None = None, max_frames: int = 1
) -> RecordingsDataModule:
    source = EncodedSource("voice", Split(clips[2:], clips[:2]), 1.0)
    return RecordingsDataModule(adapter, [source], BatchLimits(max_frames, max_batch_size), 0, 0)


def find(batches: RecordingsDataModule, strategy: Strategy, folder: Path, accelerator: str = "cpu") -> Found:
    """What is found for a run of the strategy, which has to be applied."""
    trainer = build_trainer({"accelerator": accelerator, "devices": 1, "max_steps": 1}, folder, [])
    return find_max_frames(batches.adapter, batches, strategy, adamw(), trainer)


def train_an_epoch(batches: RecordingsDataModule, strategy: Strategy, max_frames: int, device: str = "cpu") -> int:
    """Real steps on every batch of an epoch; returns how many."""
    adapter = batches.adapter.to(device)
    batches.set_limits(replace(batches.limits, max_frames_per_batch=max_frames))
    optimizer = adamw().optimizer(strategy.trained_components(adapter))
    for index in range(batches.plan.num_batches_first_epoch):
        optimizer.zero_grad()
        batch = to_device(adapter.collate(batches.training_rows(index)), device)
        adapter.loss(batch, make_rng(0, "train", index)).total.backward()
        optimizer.step()
    return batches.plan.num_batches_first_epoch


def train_in_little_memory(folder: Path, strategy: Strategy, megabytes: int) -> None:
    """What a subprocess does: find a number and train by it, with so many more addresses than torch itself takes."""
    import resource

    import psutil

    adapter = PocketTTSAdapter(str(NANO), default_objective())
    clips = many(encode(adapter, folder / "recordings", folder / "cache"))
    strategy.apply(adapter, 1e-3)
    batches = datamodule(adapter, clips)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + megabytes * 2**20, -1))
    candidates, _ = numbers_to_try(batches, 1)
    found = find(batches, strategy, folder).max_frames
    num_steps = train_an_epoch(batches, strategy, found)
    print(json.dumps({"candidates": candidates, "found": found, "num_steps": num_steps}), flush=True)
    train_an_epoch(batches, strategy, 4 * found)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "megabytes"), [("HeadOnly()", 350), ("Full()", 500)])
def test_where_allocations_fail_what_is_found_trains_and_four_times_as_much_does_not(
    tmp_path: Path, strategy: str, megabytes: int
) -> None:
    copy_short_clips(tmp_path / "recordings", 24)
    code = (
        "from pathlib import Path\n"
        "from tests.training.test_batch_budget import *\n"
        f"train_in_little_memory(Path({str(tmp_path)!r}), {strategy}, {megabytes})"
    )
    # One arena: otherwise each thread reserves 64 MB of addresses that it never uses.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert ended.stdout, ended.stderr[-2000:]
    said = json.loads(ended.stdout)
    assert said["candidates"][0] < said["found"] < said["candidates"][-1]
    assert said["num_steps"] > 1
    assert "can't allocate memory" in ended.stderr  # four times as much


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", [HeadOnly(), Full(), Lora(8, 16, {"backbone": ["in_proj"]})], ids=["head", "full", "lora"]
)
def test_nothing_of_the_run_is_changed(nano_adapter, clips, tmp_path: Path, strategy: Strategy) -> None:
    def state() -> dict[str, torch.Tensor]:
        return {
            name: tensor.clone() for name, tensor in (*nano_adapter.named_parameters(), *nano_adapter.named_buffers())
        }

    def drawn() -> list[Any]:
        return [torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]]

    strategy.apply(nano_adapter, 1e-3)
    batches = datamodule(nano_adapter, clips, max_batch_size=2)
    before, modes = state(), [module.training for module in nano_adapter.modules()]
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(1)
    expected = drawn()
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(1)
    find(batches, strategy, tmp_path)
    assert drawn() == expected
    after = state()
    assert all(torch.equal(before[name], after[name]) for name in before)  # `after` may have tables of positions
    assert [module.training for module in nano_adapter.modules()] == modes
    assert all(parameter.grad is None for parameter in nano_adapter.parameters())


@pytest.mark.slow
def test_where_the_machine_has_little_left_nothing_is_tried_that_would_take_more(
    nano_adapter, clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 150_000_000
    monkeypatch.setattr(device_memory, "_free_on_cpu", lambda: free)
    strategy = Full()
    strategy.apply(nano_adapter, 1e-3)
    batches = datamodule(nano_adapter, many(clips))
    found = find(batches, strategy, tmp_path)
    candidates, _ = numbers_to_try(batches, 1)
    assert candidates[0] < found.max_frames < candidates[-1]
    assert 0.4 * free < found.needed <= 0.7 * found.free == 0.7 * free
    assert str(found).startswith(f"data.max_frames_per_batch=auto: {found.max_frames} frames, which took 0.")
    assert str(found).endswith("of the 0.15 GB that cpu has free; a tenth more would not leave 30% of it free")


@pytest.mark.slow
def test_a_clip_that_does_not_fit_is_one_sentence_that_says_what_to_change(
    nano_adapter, clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_memory, "_free_on_cpu", lambda: 1_000_000)
    Full().apply(nano_adapter, 1e-3)
    said = r"longest clip alone \(17 frames, 1.4 s\) .* than the 0.00 GB that cpu has free: .*max_duration_sec=1"
    with pytest.raises(UserError, match=said):
        find(datamodule(nano_adapter, clips), Full(), tmp_path)


@pytest.mark.parametrize("largest", [100, 333, 1500, 5999, 6000])
@pytest.mark.parametrize("is_known", [True, False])
def test_the_largest_number_that_fits_is_found_in_few_trials(largest: int, is_known: bool) -> None:
    """is_known: the limit, as on a CPU; otherwise allocations fail where nobody knew they would, as by `ulimit -v`."""
    candidates = [round(100 * 1.1**power) for power in range(60) if 100 * 1.1**power < 6000] + [6000]
    fits = max(number for number in candidates if number <= largest)
    tried: list[int] = []

    def needed(frames: int) -> int | None:
        tried.append(frames)
        return 5_000 + 10 * frames if is_known or frames <= largest else None

    limit = 5_000 + 10 * largest if is_known else 10**9
    assert largest_fitting(candidates, needed, limit, 5_000) == (fits, 5_000 + 10 * fits)
    assert len(tried) <= 12
    assert len(tried) == len(set(tried))
    assert not is_known or max(tried) <= largest
    assert largest_fitting(candidates, lambda frames: None, limit, 0) is None


def test_there_is_no_more_to_try_than_the_users_rows_or_what_an_epoch_gives_ten_steps_of(nano_adapter, clips) -> None:
    longest = max(clip.num_frames for clip in clips)
    numbers, reason = numbers_to_try(datamodule(nano_adapter, clips, max_batch_size=3), 1)
    assert (numbers[0], numbers[-1]) == (longest, 3 * longest)
    assert "data.max_batch_size=3" in reason
    numbers, reason = numbers_to_try(datamodule(nano_adapter, clips), 1)
    assert 1400 < numbers[-1] < 1600  # two minutes
    hour = [
        replace(clip, num_frames=100 * clip.num_frames, duration_sec=100 * clip.duration_sec) for clip in many(clips)
    ]
    numbers, reason = numbers_to_try(datamodule(nano_adapter, hour), 2)
    assert numbers[-1] == round(sum(clip.num_frames for clip in hour[2:]) / 20)
    assert "fewer than 10 steps" in reason


def test_limits_of_control_groups_count_with_those_above_them(tmp_path: Path) -> None:
    def group(folder: Path, limit: str, used: str, cached: str, *sizes: object) -> None:
        folder.mkdir(parents=True)
        (folder / limit).write_text(f"{sizes[0]}\n")
        (folder / used).write_text(f"{sizes[1]}\n")
        (folder / "memory.stat").write_text(f"anon 7\n{cached} {sizes[2]}\n")

    second = ("memory.max", "memory.current", "inactive_file")
    group(tmp_path / "two/job", *second, 1000, 400, 50)
    group(tmp_path / "two/job/step", *second, "max", 300, 50)
    group(
        tmp_path / "one/memory/job",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
        900,
        100,
        0,
    )
    own = tmp_path / "cgroup"
    own.write_text("0::/job/step\n")
    assert device_memory.left_in_cgroups(own, tmp_path / "two") == [650]
    own.write_text("9:name=systemd:/x\n4:memory:/job\n0::/\n")
    assert device_memory.left_in_cgroups(own, tmp_path / "one") == [800]
    assert device_memory.left_in_cgroups(tmp_path / "none", tmp_path) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strategy", [HeadOnly(), Full()], ids=["head", "full"])
def test_on_a_gpu_with_little_left_what_is_found_trains_and_nearly_fills_it(tmp_path: Path, strategy: Strategy) -> None:
    adapter = PocketTTSAdapter(str(NANO), default_objective())
    clips = many(encode(adapter, copy_short_clips(tmp_path / "recordings", 24), tmp_path / "cache"))
    strategy.apply(adapter, 1e-3)
    batches = datamodule(adapter, clips)
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - 500 * 2**20, dtype=torch.uint8, device="cuda")
    found = find(batches, strategy, tmp_path, "gpu")
    assert next(adapter.parameters()).device.type == "cpu"
    candidates, _ = numbers_to_try(batches, 1)
    assert candidates[0] < found.max_frames < candidates[-1]
    assert 0.5 * found.free < found.needed <= 0.9 * found.free
    torch.cuda.reset_peak_memory_stats()
    assert train_an_epoch(batches, strategy, found.max_frames, "cuda") > 1
    assert torch.cuda.max_memory_reserved() - taken.nbytes < free - taken.nbytes
    assert find(batches, strategy, tmp_path, "gpu").max_frames == found.max_frames
