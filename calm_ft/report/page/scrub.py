"""No path of the machine that ran stands in a page."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

# An absolute path, not the middle of an address (https://...), of a rate (1/2) or of a name (kyutai/pocket-tts).
_PATH = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\",;:()<>]+)+[/\\]?")


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
