"""Features on disk: many clips a safetensors file, written whole or not at all, read memory-mapped.

Layout: `directory/<fingerprint>/shard-XXXXX-<random>.safetensors`, tensors named `<clip key>/<feature name>`;
the shard's metadata lists its clips. A shard appears by one rename and never changes, so a killed writer
leaves nothing but a temporary file, and two writers at once leave at worst a clip stored twice.
"""

import json
import logging
import os
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from calm_ft.atomic_file import why_not_a_folder
from calm_ft.errors import UserError

log = logging.getLogger(__name__)

Features = dict[str, torch.Tensor]

# A shard is written in well under a second: a temporary file of this age belongs to a writer that was killed.
ABANDONED_AFTER_SEC = 600.0
# Mapped files kept at a time, so that a corpus of thousands of shards does not exhaust the process's
# mappings.
MAX_OPEN_SHARDS = 256


@dataclass(frozen=True)
class CacheEntry:
    """One encoded clip: its features, their number of frames, and the length of the prepared audio."""

    features: Features
    num_frames: int
    duration_sec: float


@dataclass(frozen=True)
class CachedClip:
    """Where a stored clip lies and what is known of it without reading its tensors."""

    shard_path: Path
    names: tuple[str, ...]
    num_frames: int
    duration_sec: float


class FeatureCache:
    """The stored clips of one fingerprint; opening it reads the shards' headers only."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self.folder = Path(directory) / fingerprint
        self._clips: dict[str, CachedClip] = {}
        self._handles: OrderedDict[Path, Any] = OrderedDict()
        self._remove_abandoned()
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            self._index(path)

    def __len__(self) -> int:
        return len(self._clips)

    def __contains__(self, key: str) -> bool:
        return key in self._clips

    def info(self, key: str) -> CachedClip:
        """What is known of a stored clip; raises KeyError for one that is not stored."""
        return self._clips[key]

    def read(self, key: str) -> Features:
        """The clip's tensors, copied: a mapped tensor that a caller changed would stay changed."""
        clip = self._clips[key]
        handle = self._handle(clip.shard_path)
        return {name: handle.get_tensor(f"{key}/{name}").clone() for name in clip.names}

    def check_writable(self) -> None:
        """Raises UserError where the folder cannot be made or written: to be asked before anything is encoded."""
        reason = why_not_a_folder(self.folder)
        if reason is not None:
            raise UserError(_not_writable(self.folder, reason))

    def write_shard(self, entries: Mapping[str, CacheEntry]) -> None:
        """Stores the clips in one new file and knows them from then on.

        Raises UserError where the file cannot be written; the shards before it stay.
        """
        try:
            self._index(self._write(entries))
        except OSError as error:
            raise UserError(_not_writable(self.folder, error.strerror or str(error))) from error

    def _write(self, entries: Mapping[str, CacheEntry]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = save(_named_tensors(entries), metadata={"clips": json.dumps(_descriptions(entries))})
        unique = f"{len(list(self.folder.glob('shard-*.safetensors'))):05d}-{uuid.uuid4().hex[:12]}"
        temporary = self.folder / f".tmp-{unique}"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the name with nothing behind it
            path = self.folder / f"shard-{unique}.safetensors"
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": OrderedDict()}

    def _handle(self, path: Path) -> Any:
        if path in self._handles:
            self._handles.move_to_end(path)
        else:
            self._handles[path] = safe_open(path, framework="pt", device="cpu")
            if len(self._handles) > MAX_OPEN_SHARDS:
                self._handles.popitem(last=False)
        return self._handles[path]

    def _index(self, path: Path) -> None:
        """Takes up a shard's clips, or sets the shard aside where it cannot be read."""
        try:
            descriptions = _read_descriptions(path)
        except FileNotFoundError:  # another process has just set it aside
            return
        except (SafetensorError, KeyError, TypeError, ValueError) as fault:
            log.warning("Feature cache: %s is damaged (%s) and set aside; its clips are encoded again.", path, fault)
            with suppress(OSError):  # another process has just done it, or the cache is read-only
                os.replace(path, path.with_suffix(".damaged"))
            return
        for key, clip in descriptions.items():
            self._clips.setdefault(key, clip)

    def _remove_abandoned(self) -> None:
        for path in self.folder.glob(".tmp-*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_AFTER_SEC:
                    path.unlink()


def _not_writable(folder: Path, reason: str) -> str:
    return (
        f"The feature cache {folder} cannot be written ({reason}): free some space there, or choose a folder that can "
        "be written by data.cache_dir; what it holds is kept."
    )


def _named_tensors(entries: Mapping[str, CacheEntry]) -> dict[str, torch.Tensor]:
    """Copies, since safetensors refuses tensors that share memory, as slices of one padded batch do."""
    return {
        f"{key}/{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, entry in entries.items()
        for name, tensor in entry.features.items()
    }


def _descriptions(entries: Mapping[str, CacheEntry]) -> dict[str, dict[str, Any]]:
    return {
        key: {
            "names": list(entry.features),
            "num_frames": entry.num_frames,
            "duration_sec": entry.duration_sec,
        }
        for key, entry in entries.items()
    }


def _read_descriptions(path: Path) -> dict[str, CachedClip]:
    """The clips of a shard; safetensors itself refuses a file whose length its header denies."""
    with safe_open(path, framework="pt", device="cpu") as handle:
        rows = json.loads((handle.metadata() or {})["clips"])
    return {
        key: CachedClip(path, tuple(row["names"]), int(row["num_frames"]), float(row["duration_sec"]))
        for key, row in rows.items()
    }
