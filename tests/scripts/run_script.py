"""The other scripts in this process."""

import sys
from types import ModuleType

import pytest

from calm_ft.errors import run_script


def run(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *arguments: object) -> int:
    """The script's exit code."""
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    try:
        run_script(script.main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
