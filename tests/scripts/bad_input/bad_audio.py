"""Files that are not the recordings they claim to be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 24000


def noise(duration_sec: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(duration_sec * RATE_HZ)).astype(np.float32)


def _write(path: Path, samples: np.ndarray, text: str = "Some words.") -> None:
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    path.with_suffix(".txt").write_text(text, encoding="utf-8")


def silent(path: Path) -> None:
    _write(path, np.zeros(RATE_HZ, dtype=np.float32))


def not_a_number(path: Path) -> None:
    samples = noise(1.0)
    samples[100] = np.nan
    _write(path, samples)


def without_samples(path: Path) -> None:
    _write(path, noise(0))


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")
    path.with_suffix(".txt").write_text("Some words.")


def unreadable(path: Path) -> None:
    path.write_bytes(b"this is no audio")
    path.with_suffix(".txt").write_text("Some words.")


def over_long(path: Path) -> None:
    _write(path, noise(31.0))


def without_text(path: Path) -> None:
    soundfile.write(path, noise(1.0), RATE_HZ)


def empty_text(path: Path) -> None:
    _write(path, noise(1.0), text=" \n")


def text_not_utf8(path: Path) -> None:
    _write(path, noise(1.0))
    path.with_suffix(".txt").write_bytes(b"Un caf\x81\xff")


def integers(path: Path) -> None:
    _write(path, 32768 * noise(1.0))


def text_without_words(path: Path) -> None:
    _write(path, noise(1.0), text="...!")


# How to make the file, and a part of the reason that excluded.jsonl gives for it.
KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "silent": (silent, "silent"),
    "not_a_number": (not_a_number, "NaN"),
    "integers": (integers, "holds integers as floating point"),
    "without_samples": (without_samples, "no samples"),
    "no_bytes": (no_bytes, "cannot be read"),
    "unreadable": (unreadable, "cannot be read"),
    "over_long": (over_long, "longer than the limit"),
    "without_text": (without_text, "no text beside the audio"),
    "empty_text": (empty_text, "empty"),
    "text_not_utf8": (text_not_utf8, "not UTF-8"),
    "text_without_words": (text_without_words, "no word"),
}
