"""What systems said, kept so that nothing is said twice: two files a clip, named by a hash of all that shapes it.

`KEY.wav` is the clip, `KEY.json` says whether it ended by itself, the clip's checksum, and what it took to say it
where that was timed. The json is written first: where a clip is, all is. A clip that is not what its checksum says
counts as none, for it can be said anew.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from calm_ft.atomic_file import atomic_path, write_text
from calm_ft.errors import UserError

SPOKEN = "spoken"


@dataclass(frozen=True)
class Timing:
    """What one sentence took when it was said alone: until all of it was there, and until its first piece was.

    `conditions` are the machine and its threads: on others it is timed anew.
    """

    generation_sec: float
    first_audio_sec: float
    audio_sec: float
    conditions: str
    measured_at: str


@dataclass(frozen=True)
class KeptClip:
    """A WAV file's content, whether generation ended by itself, and its timing where it was timed."""

    wav: bytes
    ended: bool
    timing: Timing | None = None


class KeptAudio:
    """Reads from several folders, writes into the first of them."""

    def __init__(self, folder: Path | None, others: Sequence[Path] = ()) -> None:
        """Nothing is written yet.

        Args:
            folder: None keeps clips in memory alone.
            others: folders of earlier evaluations, which may say the same.
        """
        self._folder = folder
        self._places = (*([] if folder is None else [folder]), *others)
        self._in_memory: dict[str, KeptClip] = {}
        self._used: set[str] = set()

    def get(self, key: str) -> KeptClip | None:
        """What was said before, if it was."""
        if self._folder is None and key in self._in_memory:
            return self._in_memory[key]
        for folder in self._places:
            clip = _read(folder, key)
            if clip is not None:
                self._used.add(key)
                if folder != self._folder:
                    self.put(key, clip)
                return clip
        return None

    def put(self, key: str, clip: KeptClip) -> None:
        """Keep a clip. Raises UserError where it cannot be written."""
        self._used.add(key)
        if self._folder is None:
            self._in_memory[key] = clip
            return
        timing = None if clip.timing is None else asdict(clip.timing)
        content = {"ended": clip.ended, "sha256": hashlib.sha256(clip.wav).hexdigest(), "timing": timing}
        try:
            write_text(self._folder / f"{key}.json", json.dumps(content))
            with atomic_path(self._folder / f"{key}.wav") as temporary:
                temporary.write_bytes(clip.wav)
        except OSError as error:
            place = self._folder.parent
            raise UserError(f"{place} cannot be written ({error.strerror}): pass another --output-dir.") from error

    def add_timing(self, key: str, timing: Timing) -> KeptClip:
        """Keep what a clip that is there took; returns it with that. Raises UserError as `put` does."""
        clip = self.get(key)
        assert clip is not None
        self.put(key, replace(clip, timing=timing))
        return replace(clip, timing=timing)

    def copy_to(self, folder: Path, keys: Iterable[str]) -> None:
        """Put clips that are kept here into another folder too. Raises UserError where they cannot be written."""
        other = KeptAudio(folder)
        for key in keys:
            clip, there = self.get(key), other.get(key)
            if clip is not None and (there is None or there.timing is None):
                other.put(key, clip)

    def forget_unused(self) -> None:
        """Remove from the first folder what nobody asked for, so that it does not grow with every version of a run."""
        for path in () if self._folder is None else self._folder.glob("*"):
            if path.stem not in self._used:
                with suppress(OSError):
                    path.unlink()


def _read(folder: Path, key: str) -> KeptClip | None:
    try:
        content = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        wav = (folder / f"{key}.wav").read_bytes()
        if hashlib.sha256(wav).hexdigest() != content["sha256"]:
            return None
        timing = None if content["timing"] is None else Timing(**content["timing"])
        return KeptClip(wav, bool(content["ended"]), timing)
    except (OSError, ValueError, KeyError, TypeError):
        return None
