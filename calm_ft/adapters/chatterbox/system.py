"""Chatterbox as the registry knows it: its files, by which models and exports are recognised without its package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.chatterbox.files import CONDITIONALS, NAME, REPOSITORY, T3_WEIGHTS, TINY, TINY_WIDTH, t3_width
from calm_ft.adapters.registry import Miniature, System

REHEARSAL = Miniature(
    warning="this is chatterbox_tiny, a rehearsal with random weights that speaks noise",
    released=(),  # the experiment's own adapter
    dropped=("adapter.seed",),
)


class ChatterboxSystem(System):
    """The English Chatterbox: its repository on the hub, and folders with its files."""

    name = NAME
    module = "calm_ft.adapters.chatterbox"
    packages = ("chatterbox-tts",)

    def is_export(self, folder: Path) -> bool:
        return (folder / T3_WEIGHTS).is_file()

    def load(self, model: str) -> TTSAdapter:
        from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
        from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy

        # What a model says does not depend on the objective.
        objective = T3CrossEntropy(text_weight=0.1, text_dropout=0.1, condition_dropout=0.1, double_start=True)
        local_dir = model if Path(model).is_dir() else None
        return ChatterboxAdapter(REPOSITORY, objective, local_dir)

    def takes(self, name: str) -> bool:
        return name in (self.name, REPOSITORY)

    def default_voice(self, folder: Path) -> Path | None:
        return folder / CONDITIONALS if (folder / CONDITIONALS).is_file() else None

    def miniature(self, settings: Mapping[str, Any]) -> Miniature | None:
        local_dir = settings.get("local_dir")
        if local_dir is None:
            return REHEARSAL if settings.get("model") == TINY else None
        try:
            return REHEARSAL if t3_width(Path(local_dir).expanduser() / T3_WEIGHTS) == TINY_WIDTH else None
        except (SafetensorError, OSError):  # said when the model is loaded
            return None


SYSTEM = ChatterboxSystem()
