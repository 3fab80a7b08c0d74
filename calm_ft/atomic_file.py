"""Files that are there whole or not at all: written under a temporary name beside their place, then renamed."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FAULTS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder with the same suffix, moved to `path` if the block ends well.

    Folders are made as needed; whatever fails leaves an older file as it was and nothing temporary behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, atomically; bytes of a file name that are not UTF-8 are written as escapes such as \\udcff."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def why_not_a_folder(path: Path) -> str | None:
    """Why files cannot be written into `path`, a folder that may still have to be made; None where they can."""
    existing = next(each for each in (path, *path.parents) if each.exists())
    if not existing.is_dir():
        return f"{existing} is a file"
    return None if os.access(existing, os.W_OK | os.X_OK) else "permission denied"


def is_disk_fault(error: BaseException) -> bool:
    """Whether a write failed for a reason that lies in the disk: full, over a quota, read-only, not permitted."""
    return isinstance(error, OSError) and error.errno in DISK_FAULTS
