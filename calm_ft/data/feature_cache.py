"""Features on disk: safetensors files (shards) of many clips each, written atomically and read memory-mapped.

Layout: `directory/<fingerprint>/shard-XXXXX-<random>.safetensors`, tensors named `<clip key>/<feature name>`; the
metadata of a shard lists its clips. A shard appears by one rename and never changes. A writer that is killed leaves
only a temporary file, and two writers at the same time at worst store a clip twice.
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

# Writing a shard takes less than a second, so a temporary file of this age is from a writer that was killed.
ABANDONED_AFTER_SEC = 600.0
# Number of files mapped at a time, so that a corpus of thousands of shards does not exhaust the process's mappings.
MAX_OPEN_SHARDS = 256


@dataclass(frozen=True)
class CacheEntry:
    """One encoded clip: its features, their number of frames, and the length of the prepared audio."""

    features: Features
    num_frames: int
    duration_sec: float


@dataclass(frozen=True)
class CachedClip:
    """The shard that stores a clip, and what is known about the clip without reading its tensors."""

    shard_path: Path
    names: tuple[str, ...]
    num_frames: int
    duration_sec: float


class FeatureCache:
    """The stored clips of one fingerprint; opening the cache reads only the headers of the shards."""

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
        """Copies of the clip's tensors, because changing a mapped tensor would change it for later reads too."""
        clip = self._clips[key]
        handle = self._handle(clip.shard_path)
        return {name: handle.get_tensor(f"{key}/{name}").clone() for name in clip.names}

    def check_writable(self) -> None:
        """Raises `UserError` if the folder cannot be created or written; call it before encoding."""
        reason = why_not_a_folder(self.folder)
        if reason is not None:
            raise UserError(_not_writable(self.folder, reason))

    def write_shard(self, entries: Mapping[str, CacheEntry]) -> None:
        """Stores the clips in one new file.

        Raises:
            UserError: the file cannot be written; earlier shards are kept.
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
                os.fsync(file.fileno())  # otherwise a power failure may leave an empty file under the final name
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
        """Adds a shard's clips, or renames the shard if it is damaged."""
        try:
            descriptions = _read_descriptions(path)
        except FileNotFoundError:  # another process has just renamed it
            return
        except (SafetensorError, KeyError, TypeError, ValueError) as fault:
            log.warning("Feature cache: %s is damaged (%s) and set aside; its clips are encoded again.", path, fault)
            with suppress(OSError):  # another process has just renamed it, or the cache is read-only
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
        f"The feature cache {folder} cannot be written ({reason}): free some space there, or choose another folder by "
        "data.cache_dir; what it holds is kept."
    )


def _named_tensors(entries: Mapping[str, CacheEntry]) -> dict[str, torch.Tensor]:
    """Copies, because safetensors refuses tensors that share memory, such as slices of one padded batch."""
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
    """The clips of a shard; safetensors itself refuses a file whose length does not match its header."""
    with safe_open(path, framework="pt", device="cpu") as handle:
        rows = json.loads((handle.metadata() or {})["clips"])
    return {
        key: CachedClip(path, tuple(row["names"]), int(row["num_frames"]), float(row["duration_sec"]))
        for key, row in rows.items()
    }
