"""Loaders over encoded recordings: training batch k is a function of (seed, k), whichever process computes its rows."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.dataset import Example, IndicesFrom, Share, TrainingBatches, ValidationBatches
from calm_ft.data.mixture import Mixture
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.prompts import PromptPool
from calm_ft.data.split import Split
from calm_ft.randomness import make_rng
from calm_ft.training.callbacks.stopping import SIGNALS
from calm_ft.training.callbacks.throughput import TimedDataLoader

MAX_WORKERS = 4


@dataclass(frozen=True)
class EncodedSource:
    """One source's clips, split into training and validation, with its weight relative to the first source's."""

    name: str
    split: Split
    weight: float

    def identity(self) -> list[Any]:
        """What a resumed run must find unchanged: clips, texts, speakers and languages, in order, whatever their place.

        The order counts because batches are made of positions.
        """
        return [self.weight, *([_row(clip) for clip in clips] for clips in (self.split.train, self.split.validation))]


@dataclass(frozen=True)
class BatchLimits:
    """What one process's share of a batch may hold."""

    max_frames_per_batch: int
    max_batch_size: int | None

    def of_all(self, num_ranks: int) -> "BatchLimits":
        """What the shares of all processes may hold together."""
        rows = None if self.max_batch_size is None else self.max_batch_size * num_ranks
        return BatchLimits(self.max_frames_per_batch * num_ranks, rows)


class RecordingsDataModule(LightningDataModule):
    """Training and validation batches of the first source, the others mixed into training by weight."""

    def __init__(
        self,
        adapter: TTSAdapter,
        sources: Sequence[EncodedSource],
        limits: BatchLimits,
        num_workers: int | None,
        seed: int,
        num_ranks: int = 1,
        num_prompt_draws: int | None = None,
    ) -> None:
        """num_prompt_draws: see `TrainingBatches`.

        Raises UserError where weights, limits or the number of processes leave a batch or a source empty."""
        super().__init__()
        self.adapter = adapter
        self.seed = seed
        self.num_workers = num_workers
        self.num_ranks = num_ranks
        self.num_prompt_draws = num_prompt_draws
        self.sources = list(sources)
        self.train_clips, self.validation_clips = sources[0].split.train, sources[0].split.validation
        self.replay_clips = [clip for source in sources[1:] for clip in source.split.train]
        self.replay_validation_clips = [clip for source in sources[1:] for clip in source.split.validation]
        self.pool = adapter.prompt_pool([*self.train_clips, *self.replay_clips])
        self._mixture = Mixture([len(each.split.train) for each in sources], [each.weight for each in sources], seed)
        self.set_limits(limits)

    def set_limits(self, limits: BatchLimits) -> None:
        """Plan all batches anew. Raises UserError where the limits leave a batch empty."""
        self.limits = limits
        whole = limits.of_all(self.num_ranks)
        lengths = [clip.num_frames for clip in (*self.train_clips, *self.replay_clips)]
        frames, rows = whole.max_frames_per_batch, whole.max_batch_size
        self.plan = BatchPlan(lengths, frames, rows, self.seed, self._mixture, min_rows=self.num_ranks)
        self.validation_plan = _validation_plan(self.validation_clips, limits, self.seed)

    def setup(self, stage: str) -> None:
        """All processes take the limits of the first: it alone tried what fits, or knows what was found before."""
        if self.trainer is not None and self.num_ranks > 1:
            self.set_limits(self.trainer.strategy.broadcast(self.limits))

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches from the trainer's present step on: a resumed run goes on with the next index."""
        trainer = self.trainer
        assert trainer is not None
        num_batches = trainer.max_steps * trainer.accumulate_grad_batches
        first = trainer.global_step * trainer.accumulate_grad_batches
        on_gpu = trainer.strategy.root_device.type == "cuda"
        num_workers = self.num_workers
        if num_workers is None:
            num_workers = workers_beside_a_gpu(trainer.world_size) if on_gpu else 0
        finish = self._with_draws if num_workers else None
        return TimedDataLoader(
            self._training(num_batches, Share(trainer.global_rank, trainer.world_size), finish),
            batch_size=None,
            sampler=IndicesFrom(first, num_batches),
            num_workers=num_workers,
            worker_init_fn=_ignore_signals,
            pin_memory=on_gpu,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation clip once, the batches shared among the processes.

        With fewer batches than processes each process takes all of them: Lightning refuses an empty loader, and the
        mean stays the same.
        """
        batches = self._validation()
        trainer = self.trainer
        rank, num_ranks = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        first, step = (rank, num_ranks) if len(batches) >= num_ranks else (0, 1)
        return DataLoader(batches, batch_size=None, sampler=IndicesFrom(first, len(batches), step))

    def examples(self) -> list[Example]:
        """Every row that training and validation can meet; no training rows where prompts are drawn without limit."""
        return [*self._training(0).examples(), *self._validation().examples()]

    def training_rows(self, index: int) -> list[Example]:
        """The rows of the first process's share of a training batch, the longest first."""
        return self._training(index + 1, Share(0, self.num_ranks)).rows(index)

    def validation_batch(self, index: int) -> Any:
        """A collated batch of validation clips."""
        return self._validation()[index]

    def num_rows(self, num_batches: int) -> float:
        """About how many rows so many batches hold."""
        return num_batches * len(self.plan.num_frames) / self.plan.num_batches_first_epoch

    def _training(
        self, num_batches: int, share: Share | None = None, finish: Callable[[Any, int], Any] | None = None
    ) -> TrainingBatches[Any]:
        clips, draws, collate = [*self.train_clips, *self.replay_clips], self.num_prompt_draws, self.adapter.collate
        return TrainingBatches(clips, self.pool, self.plan, collate, num_batches, self.seed, share, draws, finish)

    def _with_draws(self, batch: Any, index: int) -> Any:
        """As `FineTuning.training_step` draws for this batch."""
        return self.adapter.with_draws(batch, make_rng(self.seed, "train", index))

    def _validation(self) -> ValidationBatches[Any]:
        plan = self.validation_plan
        return ValidationBatches(self.validation_clips, self.pool, plan, self.adapter.collate, self.seed)


def validation_loader(
    clips: Sequence[EncodedUtterance], pool: PromptPool, adapter: TTSAdapter, limits: BatchLimits, seed: int
) -> DataLoader[Any]:
    """Every clip once, prompted from `pool` by another clip of its speaker; the same at every call."""
    plan = _validation_plan(clips, limits, seed)
    batches: ValidationBatches[Any] = ValidationBatches(clips, pool, plan, adapter.collate, seed)
    return DataLoader(batches, batch_size=None)


def _validation_plan(clips: Sequence[EncodedUtterance], limits: BatchLimits, seed: int) -> BatchPlan:
    return BatchPlan([clip.num_frames for clip in clips], limits.max_frames_per_batch, limits.max_batch_size, seed)


def workers_beside_a_gpu(num_ranks: int) -> int:
    """Processes that make batches for each GPU: a few, and one core is left to each process that trains."""
    return min(MAX_WORKERS, max(1, (os.cpu_count() or 1) // num_ranks - 1))


def _row(clip: EncodedUtterance) -> list[Any]:
    spoken = clip.utterance
    listed = [spoken.language] if spoken.language else []
    return [clip.key, clip.num_frames, spoken.id, spoken.text, spoken.speaker, *listed]


def _ignore_signals(worker: int) -> None:
    """Ctrl-C and a closed terminal reach every process; a worker that they ended would break the unfinished step."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
