"""Chatterbox as the registry knows it: its files, by which models and exports are recognised without its package."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.chatterbox.files import CONDITIONALS, ENGLISH, TINY, TINY_WIDTH, Release, t3_width
from calm_ft.adapters.registry import Miniature, System


class ChatterboxFamilySystem(System):
    """A model of the family: its repository on the hub, and folders with its files."""

    packages = ("chatterbox-tts",)
    release: Release
    released: tuple[str, ...] = ()
    """Overrides that choose the released model in the place of the tiny one, where the experiment does not."""

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.release.name

    def is_export(self, folder: Path) -> bool:
        return (folder / self.release.t3).is_file()

    def load(self, model: str) -> TTSAdapter:
        if Path(model).is_dir():
            return self._adapter(self.release.repository, model)
        return self._adapter(self.release.repository, None)

    @abstractmethod
    def _adapter(self, model: str, local_dir: str | None) -> TTSAdapter:
        """An adapter to speak with, for which the objective does not matter."""

    def takes(self, name: str) -> bool:
        return name == self.name

    def default_voice(self, folder: Path) -> Path | None:
        return folder / CONDITIONALS if (folder / CONDITIONALS).is_file() else None

    def miniature(self, settings: Mapping[str, Any]) -> Miniature | None:
        rehearsal = Miniature(
            warning=f"this is {self.name}_tiny, a rehearsal with random weights that speaks noise",
            released=self.released,
            dropped=("adapter.seed",),
        )
        local_dir = settings.get("local_dir")
        if local_dir is None:
            return rehearsal if settings.get("model") == TINY else None
        try:
            return rehearsal if t3_width(Path(local_dir).expanduser() / self.release.t3) == TINY_WIDTH else None
        except (SafetensorError, OSError):  # said when the model is loaded
            return None


class ChatterboxSystem(ChatterboxFamilySystem):
    """The English Chatterbox."""

    release = ENGLISH
    module = "calm_ft.adapters.chatterbox"

    def takes(self, name: str) -> bool:
        return name in (self.name, self.release.repository)

    def _adapter(self, model: str, local_dir: str | None) -> TTSAdapter:
        from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
        from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy

        objective = T3CrossEntropy(text_weight=0.1, text_dropout=0.1, condition_dropout=0.1, double_start=True)
        return ChatterboxAdapter(model, objective, local_dir)


SYSTEM = ChatterboxSystem()
