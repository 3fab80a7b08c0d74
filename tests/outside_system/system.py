"""What the registry asks."""

from pathlib import Path

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.registry import System
from tests.outside_system.model import SETTINGS, VOICE


class SpectrumSystem(System):
    name = "spectrum_tts"
    module = "tests.outside_system"
    packages = ("soundfile",)

    def is_export(self, folder: Path) -> bool:
        return (folder / SETTINGS).is_file()

    def load(self, model: str) -> TTSAdapter:
        from tests.outside_system.adapter import SpectrumAdapter

        return SpectrumAdapter(model)

    def default_voice(self, folder: Path) -> Path | None:
        return folder / VOICE
