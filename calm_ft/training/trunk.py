"""Before training: run frozen layers once for every row that training can meet, and keep what they make of it.

A clip then has `data.num_prompt_draws` prompts instead of ever new ones. Rows that are kept already, by this run or an
earlier one with the same frozen weights, are not computed again. Where nothing can be written, training goes on as if
nothing were kept, only slower.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from calm_ft.adapters.base import KeepsTrunk, TTSAdapter
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import CacheEntry, FeatureCache
from calm_ft.errors import UserError
from calm_ft.progress import Progress
from calm_ft.training.datamodule import RecordingsDataModule

FOLDER = "trunk"
MAX_SHARD_BYTES = 64 * 2**20
SPARE_SPACE = 1.1


def has_frozen_trunk(adapter: TTSAdapter) -> bool:
    """Whether layers are frozen whose outputs can be kept."""
    return isinstance(adapter, KeepsTrunk) and adapter.trunk_fingerprint() is not None


def attach_trunk_cache(adapter: TTSAdapter, cache_dir: Path) -> FeatureCache | None:
    """Let an adapter take what is kept for it; None where nothing can be."""
    if not isinstance(adapter, KeepsTrunk) or (fingerprint := adapter.trunk_fingerprint()) is None:
        return None
    adapter.trunk_cache = FeatureCache(cache_dir / FOLDER, fingerprint)
    return adapter.trunk_cache


def keep_trunk_outputs(
    batches: RecordingsDataModule, num_batches: int, cache_dir: Path, say: Callable[[str], None]
) -> None:
    """Compute what is not kept yet, where that is less work than training would repeat.

    Args:
        num_batches: of the whole run.
        say: told what is kept, and how much of the disk that takes, before it is written.
    """
    adapter = batches.adapter
    cache = attach_trunk_cache(adapter, cache_dir)
    if cache is None or batches.num_prompt_draws is None:
        return
    assert isinstance(adapter, KeepsTrunk)
    examples = batches.examples()
    if len(examples) > batches.num_rows(num_batches):
        say(f"frozen layers run at every step: {num_batches} batches would use few of {len(examples)} kept rows twice")
        return
    try:
        _Filling(adapter, cache, say).run(examples, batches.limits.max_frames_per_batch)
    except UserError as error:
        say(f"frozen layers run at every step, for their outputs cannot be kept: {error}")


class _Filling:
    """One pass over the rows that a cache lacks."""

    def __init__(self, adapter: KeepsTrunk, cache: FeatureCache, say: Callable[[str], None]) -> None:
        self.adapter = adapter
        self.cache = cache
        self.say = say

    def run(self, examples: Sequence[Example], max_frames: int) -> None:
        """Raises UserError where the disk is full or cannot be written."""
        keys = {self.adapter.trunk_key(example): example for example in examples}
        missing = sorted(
            ((key, example) for key, example in keys.items() if key not in self.cache),
            key=lambda each: each[1].target.num_frames,
            reverse=True,
        )
        if not missing:
            self.say(f"frozen layers: what they make of {len(keys)} rows is kept in {self.cache.folder}")
            return
        self.cache.check_writable()
        pending: dict[str, CacheEntry] = {}
        try:
            with Progress("frozen layers", len(missing), unit="row") as bar:
                for group in _groups(missing, max_frames):
                    entries = self._entries(group)
                    if bar.num_done == 0:
                        self._check_space(entries, missing, len(keys))
                    pending |= entries
                    bar.update(len(group))
                    if _num_bytes(pending.values()) >= MAX_SHARD_BYTES:
                        self.cache.write_shard(pending)
                        pending = {}
        finally:  # also when interrupted, so that what was computed is not computed again
            if pending:
                self.cache.write_shard(pending)

    def _entries(self, group: Sequence[tuple[str, Example]]) -> dict[str, CacheEntry]:
        outputs = self.adapter.trunk_outputs([example for _, example in group])
        return {
            key: CacheEntry(features, example.target.num_frames, example.target.duration_sec)
            for (key, example), features in zip(group, outputs, strict=True)
        }

    def _check_space(self, first: dict[str, CacheEntry], missing: Sequence[tuple[str, Example]], num_rows: int) -> None:
        """Say what the rows will take on the disk. Raises UserError where there is less."""
        bytes_a_frame = _num_bytes(first.values()) / sum(entry.num_frames for entry in first.values())
        needed = bytes_a_frame * sum(example.target.num_frames for _, example in missing)
        existing = next(folder for folder in (self.cache.folder, *self.cache.folder.parents) if folder.is_dir())
        free = shutil.disk_usage(existing).free
        if needed * SPARE_SPACE > free:
            raise UserError(
                f"they take about {needed / 1e6:.0f} MB, and {self.cache.folder} has {free / 1e6:.0f} MB left. Choose "
                "another folder by data.cache_dir, or fewer prompts by data.num_prompt_draws."
            )
        self.say(
            f"frozen layers run once for each of {num_rows} rows ({len(missing)} to do); their outputs take about "
            f"{needed / 1e6:.0f} MB in {self.cache.folder}, which may be deleted at any time"
        )


def _groups(rows: Sequence[tuple[str, Example]], max_frames: int) -> Iterator[list[tuple[str, Example]]]:
    """Batches of rows that are sorted from the longest on, of so many padded frames each."""
    start = 0
    while start < len(rows):
        size = max(1, max_frames // max(1, rows[start][1].target.num_frames))
        yield list(rows[start : start + size])
        start += size


def _num_bytes(entries: Iterable[CacheEntry]) -> int:
    return sum(tensor.nbytes for entry in entries for tensor in entry.features.values())
