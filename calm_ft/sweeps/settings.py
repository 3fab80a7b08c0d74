"""When two jobs are the same: where all settings agree that shape a run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SHAPELESS = ("output_dir", "resume", "logger", "sweep_value")
"""Where a run lies, who watches it and what is asked of it afterwards does not change it."""


def settings_fingerprint(config: Mapping[str, Any], also_ignored: tuple[str, ...] = ()) -> str:
    """A hash of plain settings."""
    shaping = {key: value for key, value in config.items() if key not in (*SHAPELESS, *also_ignored)}
    return hashlib.sha256(json.dumps(shaping, sort_keys=True, default=str).encode()).hexdigest()[:16]


def fingerprint_of_run(run_dir: Path) -> str | None:
    """The same of a run's folder; None where it has no readable configuration."""
    try:
        config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None
    return settings_fingerprint(config) if isinstance(config, dict) else None
