"""How values are written in the page: short numbers, never NaN, and no path of the machine that ran."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

NOT_AVAILABLE = "n/a"
# An absolute path, not the middle of an address (https://...), of a rate (1/2) or of a name (kyutai/pocket-tts).
_PATH = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\",;:()<>]+)+[/\\]?")
_SUFFIXES = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


def number(value: float | None) -> str:
    """Three or four digits; n/a for None."""
    if value is None:
        return NOT_AVAILABLE
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    decimals = 0 if size == 0 else 1 if size >= 100 else 2 if size >= 1 else 3
    text = f"{value:.{decimals}f}" if size == 0 or size >= 0.001 else f"{value:.1e}"
    return text.replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """[low, high]; says so where one is missing."""
    return f"interval {NOT_AVAILABLE}" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def quantity(value: float | None, unit: str = "") -> str:
    """A large number with a suffix: 410k, 89.4M, 1.2 GB with unit="B"."""
    if value is None:
        return NOT_AVAILABLE
    for scale, suffix in _SUFFIXES:
        if abs(value) >= scale:
            short = f"{value / scale:.3g}"
            return f"{short} {'G' if suffix == 'B' else suffix}{unit}" if unit else f"{short}{suffix}"
    return f"{value:.4g} {unit}".strip()


def without_paths(text: str) -> str:
    """The text with every absolute path replaced by its last part."""
    return _PATH.sub(lambda match: PurePath(match[0].replace("\\", "/")).name, text)


class Scrubber:
    """Takes paths out of texts, those with spaces too where a run's configuration names them.

    What lies in one of `folders` keeps its place within it, so that files of several runs are called the same.
    """

    def __init__(self, configs: Iterable[Mapping[str, Any]], folders: Iterable[Path] = ()) -> None:
        self._prefixes = sorted({f"{path}/" for folder in folders for path in (folder, folder.resolve())}, reverse=True)
        known = {text for config in configs for text in _texts(config) if text.startswith(("/", "~"))}
        self._known = sorted(known - {"/", "~"}, key=len, reverse=True)

    def __call__(self, text: object) -> str:
        result = str(text)
        for prefix in self._prefixes:
            result = result.replace(prefix, "")
        for path in self._known:
            result = result.replace(path, PurePath(path).name)
        return without_paths(result)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
