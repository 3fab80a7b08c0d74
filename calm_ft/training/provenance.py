"""Where a run's figures come from: code, packages and data, as run.json records them."""

import hashlib
import os
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calm_ft.adapters import registry
from calm_ft.data.prepare import EncodedUtterance

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "transformers", "peft", "lightning", "numpy")


def code_version() -> str:
    """The git commit of a checkout, `-dirty` where it was changed; else the package's version."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        try:
            found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        except OSError:
            return version("calm_ft")
        if found.returncode == 0:
            return found.stdout.strip()
    return version("calm_ft")


def package_versions() -> dict[str, str]:
    """Versions of the packages that shape the result."""
    versions = {}
    for name in (*PACKAGES, *registry.packages()):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def data_fingerprint(clips: Sequence[EncodedUtterance]) -> str:
    """A hash of the clips' audio (by their keys) and texts, whatever their order, names and place."""
    rows = sorted(f"{clip.key}\0{clip.utterance.text}\0" for clip in clips)
    return hashlib.sha256("".join(rows).encode()).hexdigest()[:24]
