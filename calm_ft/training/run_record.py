"""The files that tell what a run is: run.json, config.yaml, excluded.jsonl. Each is written atomically."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError


class RunRecord:
    """A run's folder and its run.json: status running | finished | interrupted | failed, fingerprints, figures."""

    def __init__(self, output_dir: Path) -> None:
        """Raises UserError where the folder holds another run or other files, or cannot be one."""
        self.output_dir = output_dir.absolute()
        if output_dir.exists() and not output_dir.is_dir():
            raise UserError(f"output_dir={output_dir} is a file: choose a folder.")
        if output_dir.exists() and any(output_dir.iterdir()):
            kind = "another run" if (output_dir / "run.json").exists() else "other files"
            raise UserError(f"output_dir={output_dir} holds {kind}: choose a new folder, or remove that one.")
        self._content: dict[str, Any] = {"status": "running"}

    def start(self, config: dict[str, Any], exclusions: Iterable[Exclusion], **facts: Any) -> None:
        """Create the folder with config.yaml, excluded.jsonl and run.json.

        Raises UserError where the folder cannot be written.
        """
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            write_text(self.output_dir / "config.yaml", yaml.safe_dump(config, sort_keys=False))
            rows = [json.dumps({"path": row.path, "reason": row.reason}, ensure_ascii=False) for row in exclusions]
            write_text(self.output_dir / "excluded.jsonl", "".join(row + "\n" for row in rows))
        except OSError as error:
            raise UserError(
                f"output_dir={self.output_dir} cannot be written ({error.strerror}): choose a folder that can."
            ) from error
        self.update(**facts)

    def update(self, **facts: Any) -> None:
        """Add facts and write run.json anew."""
        self._content |= facts
        write_text(self.output_dir / "run.json", json.dumps(self._content, indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either whole or not there."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
