"""Clips that were taken out of tables: files in `~/.cache/calm_ft/recordings`, each under the hash of its bytes."""

import hashlib
import os
from pathlib import Path

from calm_ft.atomic_file import atomic_path, is_disk_fault
from calm_ft.errors import UserError

# What the first bytes of a clip tell of its format; the reader goes by the content, people by the name.
SIGNATURES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}


def clip_cache() -> Path:
    """The folder; `XDG_CACHE_HOME` moves it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "calm_ft" / "recordings"


def is_kept_clip(path: Path) -> bool:
    """Whether the file lies in the cache."""
    return path.is_relative_to(clip_cache())


def keep_clip(content: bytes, name: str) -> Path:
    """The file of a clip with these bytes, written now unless it is there; `name` gives a suffix if the bytes do not.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    suffix = next((kind for start, kind in SIGNATURES.items() if content.startswith(start)), Path(name).suffix.lower())
    digest = hashlib.sha256(content).hexdigest()
    path = clip_cache() / digest[:2] / f"{digest[2:34]}{suffix or '.wav'}"
    if not path.exists():
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise cache_refusal(error) from error
    return path


def cache_refusal(error: OSError) -> UserError:
    """One sentence for a full or read-only disk; other faults are raised again."""
    if not is_disk_fault(error):
        raise error
    return UserError(
        f"{clip_cache()} cannot be written ({error.strerror}); make room, or set XDG_CACHE_HOME to a folder on a "
        "larger disk: clips that are there are kept, and the same command goes on from there."
    )
