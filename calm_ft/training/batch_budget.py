"""`data.max_frames_per_batch=auto`: the most frames a batch for which a device has memory, found by trial.

Before a run, whole steps are tried on the costliest batches that a number of frames allows, with everything in place
that stays from step to step. The numbers lie a tenth apart, from the longest clip alone up to where training would gain
nothing. Nothing of the run is changed: its first step is as if the number had been given. Nothing is compiled yet, and
no frozen layers' outputs are kept yet; both take less.

Lightning's BatchSizeFinder is not used: it counts rows, where memory goes by frames; it tries the batches that happen
to come first; it writes the run's state to the disk and reads it back; and it refuses several processes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.dataset import Example
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Strategy
from calm_ft.randomness import make_rng
from calm_ft.training.datamodule import RecordingsDataModule
from calm_ft.training.device_memory import MemoryGauge, give_back, is_out_of_memory
from calm_ft.training.memory import COPIES_OF_WHAT_TRAINS, index_of_largest, largest_batch, ways_to_less_memory
from calm_ft.training.optimizers import OptimizerFactory
from calm_ft.training.residuals import to_device

MIN_STEPS_AN_EPOCH = 10
USUAL_SEC = 120.0
"""Larger batches mean fewer steps for the same speech, and the default rates were chosen with at most 1500 frames a
step, two minutes. So above that a step takes a tenth of an epoch at most: of half an hour three minutes, not all of it.
"""
RATIO = 1.1
GROWTH = 4
"""What a batch takes is known from smaller ones, and not very well from much smaller ones."""


@dataclass(frozen=True)
class Found:
    """The number of frames; bytes that a step took, and that were free; why there are not more frames."""

    max_frames: int
    needed: int
    free: int
    device: torch.device
    reason: str

    def __str__(self) -> str:
        return (
            f"data.max_frames_per_batch=auto: {self.max_frames} frames, which took {self.needed / 1e9:.2f} GB of the "
            f"{self.free / 1e9:.2f} GB that {self.device} has free; {self.reason}"
        )


def find_max_frames(
    adapter: TTSAdapter,
    batches: RecordingsDataModule,
    strategy: Strategy,
    optimizer: OptimizerFactory,
    trainer: Trainer,
) -> Found:
    """Try steps on the trainer's device; the limits of `batches` are left at what was tried last.

    Raises UserError where the longest clip alone is too much.
    """
    candidates, reason = numbers_to_try(batches, trainer.accumulate_grad_batches)
    device = trainer.strategy.root_device
    with _left_as_it_is(adapter, device):
        gauge = MemoryGauge(device, trainer.num_devices)
        trials = _Trials(adapter, batches, strategy, optimizer, trainer, gauge)
        found = trials.begin(candidates[0]) and largest_fitting(candidates, trials.needed, gauge.limit, trials.kept)
        del trials
    if not found:
        seconds = max(clip.duration_sec for clip in (*batches.train_clips, *batches.replay_clips))
        raise UserError(
            f"The longest clip alone ({candidates[0]} frames, {seconds:.1f} s) takes more memory than the "
            f"{gauge.allowed / 1e9:.2f} GB that {device} has free: leave long clips out "
            f"(data.max_duration_sec={seconds / 2:.0f}), or take "
            f"{ways_to_less_memory(trainer.precision)}."
        )
    max_frames, needed = found
    if max_frames < candidates[-1]:
        reason = f"a tenth more would not leave {gauge.spare_share:.0%} of it free"
    return Found(max_frames, needed, gauge.allowed, device, reason)


def numbers_to_try(batches: RecordingsDataModule, num_micro_batches: int) -> tuple[list[int], str]:
    """Ascending numbers of frames for one process's batch, and why there are no larger ones.

    Args:
        num_micro_batches: how many batches make a step.
    """
    plan, clips = batches.plan, [*batches.train_clips, *batches.replay_clips]
    lowest = int(plan.num_frames.max())
    epoch = int(plan.num_frames[plan.mixture.clips(0)].sum())
    usual = USUAL_SEC * sum(clip.num_frames for clip in clips) / sum(clip.duration_sec for clip in clips)
    highest = round(max(usual, epoch / (MIN_STEPS_AN_EPOCH * num_micro_batches * batches.num_ranks)))
    reason = f"with more an epoch of these recordings would have fewer than {MIN_STEPS_AN_EPOCH} steps"
    rows = batches.limits.max_batch_size
    if rows is not None and rows * lowest <= highest:
        highest, reason = rows * lowest, f"data.max_batch_size={rows} allows no larger batch (null: any)"
    numbers = [lowest]
    while numbers[-1] * RATIO < highest:
        numbers.append(round(numbers[-1] * RATIO))
    return sorted({*numbers, max(lowest, highest)}), reason


def largest_fitting(
    candidates: Sequence[int], needed: Callable[[int], int | None], limit: int, fixed: int
) -> tuple[int, int] | None:
    """The largest candidate whose need is within a limit, and its need; None where not even the first is.

    Args:
        candidates: ascending numbers of frames.
        needed: tries one; bytes, or None where memory ran out.
        limit: bytes. What would need more, by what smaller ones needed, is not tried.
        fixed: about what no frames need.
    """
    below, best = (0, fixed), None
    low, high, place = -1, len(candidates), 0
    while low < place < high:
        need = needed(candidates[place])
        if need is None or need > limit:
            high = place
        else:
            below, best, low = best or below, (candidates[place], need), place
        if best is None:
            return None
        place = min(_within_reach(candidates, below, best, limit), len(candidates) - 1)
        if place >= high:
            place = (low + high) // 2
    return best


def _within_reach(candidates: Sequence[int], below: tuple[int, int], best: tuple[int, int], limit: int) -> int:
    """The place of the largest candidate that should fit, by the line through two (frames, bytes) that did."""
    a_frame = (best[1] - below[1]) / (best[0] - below[0])
    if a_frame <= 0:  # too little to be measured
        a_frame = best[1] / best[0]
    affordable = best[0] + (limit - best[1]) / max(1.0, a_frame)
    return bisect_right(candidates, min(affordable, GROWTH * best[0])) - 1


class _Trials:
    """Steps of a run that is not begun yet, each on other batches."""

    def __init__(
        self,
        adapter: TTSAdapter,
        batches: RecordingsDataModule,
        strategy: Strategy,
        optimizer: OptimizerFactory,
        trainer: Trainer,
        gauge: MemoryGauge,
    ) -> None:
        self.adapter = adapter
        self.batches = batches
        self.strategy = strategy
        self.trainer = trainer
        self.gauge = gauge
        self.trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
        self.optimizer = optimizer.optimizer(strategy.trained_components(adapter))
        self.kept = COPIES_OF_WHAT_TRAINS * sum(parameter.nbytes for parameter in self.trained)
        self._copies: list[list[Tensor]] = []

    def begin(self, max_frames: int) -> bool:
        """Take a first step, behind which everything is there that later ones find; False where memory runs out."""
        return self._tried(lambda: self._first_step(max_frames)) is not None

    def needed(self, max_frames: int) -> int | None:
        """Bytes that a step and a validation take at most; None where memory runs out."""
        return self._tried(lambda: self._try(max_frames))

    def _tried(self, work: Callable[[], None]) -> int | None:
        is_done = True
        with self.gauge.measured():
            try:
                work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                is_done = False
        give_back(self.gauge.device)  # behind the except clause, whose error keeps the step's tensors
        return self.gauge.peak if is_done else None

    def _first_step(self, max_frames: int) -> None:
        self._copies.append(self._copy())  # the average
        if self.batches.num_ranks > 1:
            self._copies.append(self._copy())  # in which DDP joins the gradients
        self._limit(max_frames)
        self._step(largest_batch(self.batches))
        before = self._copy()
        self.optimizer.step()
        with torch.no_grad():
            for parameter, value in zip(self.trained, before, strict=True):
                parameter.copy_(value)

    def _try(self, max_frames: int) -> None:
        self._limit(max_frames)
        by_rows = sorted(range(self.batches.plan.num_batches_first_epoch), key=self._num_rows)
        fewest, most = (self.batches.training_rows(by_rows[place]) for place in (0, -1))
        largest = largest_batch(self.batches)
        # A row has a prompt and a text, which frames do not count; behind smaller batches less is free in one piece.
        for rows in (largest, fewest, most, largest):
            self._step(rows)
        self._validate()

    def _limit(self, max_frames: int) -> None:
        self.batches.set_limits(replace(self.batches.limits, max_frames_per_batch=max_frames))

    def _num_rows(self, index: int) -> int:
        return len(self.batches.plan.batch(index))

    def _step(self, rows: Sequence[Example]) -> None:
        if self.trainer.accumulate_grad_batches == 1:  # else a batch finds the gradients of the one before it
            self.adapter.zero_grad(set_to_none=True)
        self.strategy.set_modes(self.adapter)
        batch = to_device(self.adapter.collate(rows), self.gauge.device)
        with self.trainer.precision_plugin.forward_context():
            total = self.adapter.loss(batch, make_rng(self.batches.seed, "memory")).total
        total.backward()

    def _validate(self) -> None:
        """As during training, beside a copy of the weights, in whose place the average is."""
        weights = self._copy()
        self.adapter.eval()
        batch = self.batches.validation_batch(index_of_largest(self.batches.validation_plan))
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            self.adapter.residuals(to_device(batch, self.gauge.device), self.batches.seed)
        del weights

    def _copy(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.trained]


@contextmanager
def _left_as_it_is(adapter: TTSAdapter, device: torch.device) -> Iterator[None]:
    """Within the context the adapter is on a device; afterwards it, and all random states, are as before."""
    place = next(adapter.parameters()).device
    modes = {module: module.training for module in adapter.modules()}
    adapter.to(device)
    buffers = [(buffer, buffer.clone()) for buffer in adapter.buffers()]
    try:
        with isolate_rng(include_cuda=device.type == "cuda"):
            yield
    finally:
        adapter.zero_grad(set_to_none=True)
        for buffer, before in buffers:  # such as the statistics of normalisation
            if not torch.equal(buffer, before):
                buffer.copy_(before)
        for module, mode in modes.items():
            module.training = mode
        adapter.to(place)
        give_back(device)
