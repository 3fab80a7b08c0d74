"""Reading JSON that another program wrote: what does not fit is the user's to mend, and is said in one sentence."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calm_ft.errors import UserError


@dataclass(frozen=True)
class Source:
    """A file that is read, and what to do where it is damaged."""

    path: Path
    remedy: str

    def damaged(self, what: str) -> UserError:
        return UserError(f"{self.path} is damaged ({what}): {self.remedy}")

    def text(self) -> str:
        """The file's text. Raises UserError where it cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged("it is not UTF-8") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror}): {self.remedy}") from error

    def mapping(self) -> dict[str, Any]:
        """The file's one JSON object."""
        return self._parse(self.text(), "it")

    def lines(self) -> Iterator[dict[str, Any]]:
        """One JSON object a line; empty lines are passed over."""
        for number, line in enumerate(self.text().splitlines(), start=1):
            if line.strip():
                yield self._parse(line, f"line {number}")

    def _parse(self, text: str, what: str) -> dict[str, Any]:
        try:
            content = json.loads(text)
        except ValueError as error:
            raise self.damaged(f"{what} is not JSON") from error
        if not isinstance(content, dict):
            raise self.damaged(f"{what} is not a JSON object")
        return content

    def number(self, content: Mapping[str, Any], key: str) -> float | None:
        """A finite number; None where there is none, or one that is not finite."""
        value = content.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.damaged(f"{key} is not a number")
        try:
            return float(value) if math.isfinite(value) else None
        except OverflowError as error:
            raise self.damaged(f"{key} is too large") from error

    def count(self, content: Mapping[str, Any], key: str) -> int | None:
        value = self.number(content, key)
        return None if value is None else int(value)

    def part(self, content: Mapping[str, Any], key: str) -> dict[str, Any]:
        """An object within an object; empty where there is none."""
        value = content.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.damaged(f"{key} is not a JSON object")
        return value

    def string(self, content: Mapping[str, Any], key: str) -> str:
        value = content.get(key)
        if not isinstance(value, str):
            raise self.damaged(f"{key} is missing or not a text")
        return value
