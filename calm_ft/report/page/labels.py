"""Runs are called by what differs between them, as it was typed, beside their folders."""

import dataclasses
import re
import shlex
from collections.abc import Sequence

from calm_ft.report.page.figures import Run

_LONG_NUMBER = re.compile(r"(?<==)-?\d*\.\d{5,}(e-?\d+)?$")
"""As a search draws them: four digits tell them apart."""
_SAYS_NOTHING = ("output_dir", "resume", "hydra", "logger", "sweep_value", "data.cache_dir")


def labelled(runs: Sequence[Run]) -> list[Run]:
    """The runs with `(strategy=full seed=1)` behind their names, where run.json says by which overrides they began."""
    overrides = [_overrides(run) for run in runs]
    common = set.intersection(*map(set, overrides))
    labels = [shlex.join(_short(each) for each in own if each not in common) for own in overrides]
    return [
        dataclasses.replace(run, name=f"{run.name} ({label})" if label else run.name)
        for run, label in zip(runs, labels, strict=True)
    ]


def _short(override: str) -> str:
    return _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.4g}", override)


def _overrides(run: Run) -> list[str]:
    told = run.record.get("overrides")
    plain = [each.lstrip("+") for each in told if isinstance(each, str)] if isinstance(told, list) else []
    return [each for each in plain if not each.startswith(_SAYS_NOTHING)]
