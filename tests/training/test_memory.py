"""The estimate of what a run takes, beside what a real step of its largest batch takes."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from calm_ft.data.split import Split
from calm_ft.finetuning.ema import ExponentialMovingAverage
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Full, HeadOnly, LastNLayers, Strategy
from calm_ft.randomness import make_rng
from calm_ft.training.datamodule import BatchLimits, EncodedSource, RecordingsDataModule
from calm_ft.training.memory import estimate_memory, largest_batch, storages
from tests.training.tiny_run import adamw, copy_short_clips, encode

STRATEGIES: list[Strategy] = [
    HeadOnly(),
    LastNLayers(2),
    Full(),
    Full(["flow_head"]),
    Lora(rank=8, alpha=16, targets={"backbone": ["in_proj", "linear1"]}),
]
TOLERANCE = 0.15


class PeakMemory(TorchDispatchMode):
    """Bytes of all storages that operations make while the mode lasts, as many as live at the same time."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self._known = known
        self._live: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place in self._live or place in self._known:
            return
        self._live[place] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, place)

    def _remove(self, place: int) -> None:
        self.now -= self._live.pop(place)


@pytest.fixture
def batches(nano_adapter, tmp_path) -> RecordingsDataModule:
    clips = encode(nano_adapter, copy_short_clips(tmp_path / "recordings", 24), tmp_path / "cache")
    source = EncodedSource("voice", Split(clips[2:], clips[:2]), 1.0)
    return RecordingsDataModule(nano_adapter, [source], BatchLimits(400, 12), 0, 0)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: f"{type(each).__name__}-{vars(each)}"[:40])
def test_the_estimate_is_within_15_percent_of_what_the_second_step_takes(batches, strategy: Strategy):
    adapter = batches.adapter
    strategy.apply(adapter, 1e-3)
    estimate = estimate_memory(adapter, batches, seed=0)
    batch = adapter.collate(largest_batch(batches))
    optimizer = adamw().optimizer(strategy.trained_components(adapter))
    average = ExponentialMovingAverage(adapter, 0.9)

    def step() -> None:
        optimizer.zero_grad()
        adapter.loss(batch, make_rng(0, "step")).total.backward()
        optimizer.step()
        average.update()

    step()
    optimizer.zero_grad()
    own = [*adapter.parameters(), *adapter.buffers()]
    states = [each for state in optimizer.state.values() for each in state.values()]
    kept = sum(tensor.nbytes for tensor in (*own, *states, *average.shadow.values()))
    with PeakMemory(storages([*own, *states, *average.shadow.values()])) as measured:
        step()
    assert estimate.total == pytest.approx(kept + measured.peak, rel=TOLERANCE)


@pytest.mark.parametrize("strategy", STRATEGIES[1:4:2], ids=["layers", "flow_head"])
def test_nothing_of_the_probed_batch_is_kept_after_the_estimate(batches, strategy: Strategy):
    strategy.apply(batches.adapter, 1e-3)
    with PeakMemory(storages([*batches.adapter.parameters(), *batches.adapter.buffers()])) as measured:
        estimate_memory(batches.adapter, batches, seed=0)
    gc.collect()
    assert measured.peak > 1_000_000
    assert measured.now < 100_000  # what a layer computes once and keeps for good, as the table of its positions


def test_the_largest_batch_is_the_one_with_most_padded_frames(batches):
    batches.adapter.requires_grad_(False)
    rows = largest_batch(batches)

    def padded(batch: list[Any]) -> int:
        return len(batch) * max(row.target.num_frames for row in batch)

    others = [batches.training_rows(index) for index in range(batches.plan.num_batches_first_epoch)]
    assert padded(rows) == max(map(padded, others))
    assert len(others) > 1


def test_the_estimate_says_what_it_is_made_of(batches):
    HeadOnly().apply(batches.adapter, 1e-3)
    estimate = estimate_memory(batches.adapter, batches, seed=0)
    said = str(estimate)
    assert said.startswith("memory: 0.02 GB of weights, 0.02 GB for what trains, ")
    assert f"({estimate.num_rows} clips of up to {estimate.max_frames} frames)" in said
