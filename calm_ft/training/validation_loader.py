"""Validation batches of any encoded clips, such as base voices': the same at every call, epoch and batch size."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import DataLoader

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.dataset import ValidationBatches
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.prompts import PromptPool
from calm_ft.training.settings import DataSettings


def validation_loader(
    clips: Sequence[EncodedUtterance], pool: PromptPool, adapter: TTSAdapter, data: DataSettings, seed: int
) -> DataLoader[Any]:
    """Every clip once, prompted from `pool` by another clip of its speaker."""
    plan = BatchPlan([clip.num_frames for clip in clips], data.max_frames_per_batch, data.max_batch_size, seed)
    batches: ValidationBatches[Any] = ValidationBatches(clips, pool, plan, adapter.collate, seed)
    return DataLoader(batches, batch_size=None)
