"""What is evaluated: a run (its base and what it trained), an export, or a run's base alone.

Base and tuned model of a run are one adapter, before and after the run's weights are put in.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calm_ft.adapters.base import TTSAdapter
from calm_ft.config import build
from calm_ft.errors import UserError
from calm_ft.evaluation.protocol import BASE, TUNED
from calm_ft.runs import VOICE_PROMPT, adapter_for, export_dir, load_tuned, own_voice, run_config
from calm_ft.training.checkpoints import checkpoint_path, read_checkpoint, trained_weights

EVALUATION = "evaluation"


@dataclass(frozen=True)
class Subject:
    """name: as given; run_dir: the run whose held-out sentences and base count; export: what speaks as tuned.

    Without a run there is neither a base nor a held-out list; without an export a run's own checkpoint speaks.
    """

    name: str
    run_dir: Path | None
    export: Path | None
    systems: tuple[str, ...]
    default_output: Path

    def config(self) -> dict[str, Any] | None:
        """The run's configuration."""
        return None if self.run_dir is None else run_config(self.run_dir)

    def record(self) -> dict[str, Any]:
        """The run's run.json; empty without a run, or where it cannot be read."""
        if self.run_dir is None:
            return {}
        try:
            content = json.loads((self.run_dir / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def prompt_file(self) -> Path | None:
        """The recording that the run's own judging was prompted with.

        Raises UserError where the run has lost it.
        """
        if self.run_dir is None:
            return None
        path = self.run_dir / VOICE_PROMPT
        if not path.is_file():
            raise UserError(f"{path} is missing, so there is no voice to speak in: pass a recording as --voice.")
        return path

    def saved_voice(self) -> str:
        """The voice that an export without a run comes with. Raises UserError where there is none."""
        return own_voice(str(self.export))


def find_subject(model: str, of: str | None) -> Subject:
    """A run's folder, an export's, or "base" with the run that it is the base `of`.

    Raises UserError where there is none.
    """
    if model == BASE:
        if of is None:
            raise UserError("base needs the run that it is the base of: evaluate.py base --of RUN.")
        run_config(Path(of))
        return Subject(f"base of {of}", Path(of), None, (BASE,), Path(of) / f"{EVALUATION}_base")
    path = Path(model)
    if not path.is_dir():
        raise UserError(f"There is no folder {model}: pass a run's folder, an export's, or base with --of RUN.")
    if (path / "run.json").is_file():
        if of is not None:
            raise UserError(f"{model} is a run and has its own base: leave --of out.")
        run_config(path)
        checkpoint_path(path, "best")
        return Subject(model, path, None, (BASE, TUNED), path / EVALUATION)
    export = export_dir(path)
    run_dir = Path(of) if of is not None else _run_around(export)
    if run_dir is not None:
        run_config(run_dir)
    systems = (TUNED,) if run_dir is None else (BASE, TUNED)
    return Subject(model, run_dir, export, systems, export / EVALUATION)


def _run_around(export: Path) -> Path | None:
    """The run that an export lies in."""
    parent = export.absolute().parent
    return parent if (parent / "run.json").is_file() else None


class Models:
    """Loads each system once, the base of a run first, for the tuned model is made of it."""

    def __init__(self, subject: Subject) -> None:
        """Raises UserError where the model, or a run's checkpoint, cannot be loaded."""
        self.subject = subject
        self.config = subject.config()
        self._weights = None
        if TUNED in subject.systems and subject.export is None:
            assert self.config is not None
            assert subject.run_dir is not None
            export = self.config.get("export", {})
            checkpoint = read_checkpoint(checkpoint_path(subject.run_dir, export.get("which", "best")))
            self._weights = trained_weights(checkpoint, export.get("ema", True))
        self.adapter = self._first()

    def _first(self) -> TTSAdapter:
        if self.config is None:
            adapter = adapter_for(str(self.subject.export))
        else:
            torch.manual_seed(self.config.get("seed", 0))  # a model from scratch begins where the run's own did
            adapter = build(self.config["adapter"])
        return adapter.to("cpu").eval()

    @contextmanager
    def speaking(self, system: str) -> Iterator[TTSAdapter]:
        """The adapter that speaks as `system`; "base" must be asked for before "tuned"."""
        if system == BASE or self.config is None:
            yield self.adapter
        elif self._weights is None:
            yield adapter_for(str(self.subject.export)).to("cpu").eval()
        else:
            strategy = load_tuned(self.adapter, self.config, self._weights)
            with strategy.merged(self.adapter):
                yield self.adapter
