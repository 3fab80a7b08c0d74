"""Pocket TTS as the registry knows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.hub import is_remote
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.export import CONFIG, VOICE, WEIGHTS, push_to_hub, relocate
from calm_ft.adapters.pocket_tts.loading import ASSETS, is_miniature, is_released, load_config
from calm_ft.adapters.registry import Miniature, System
from calm_ft.errors import UserError
from calm_ft.flow.interpolant import LinearInterpolant
from calm_ft.flow.loss_weighting import NoWeighting
from calm_ft.flow.objective import FlowMatching
from calm_ft.flow.time_sampling import LogitNormalTimes

EMBEDDED = Miniature(
    warning="this is the embedded miniature (adapter=nano), trained on synthetic speech; it will not speak in your "
    "voice",
    released=("adapter=pocket_tts", "adapter.model=english_2026-10"),
    own_recordings=ASSETS,
)


class PocketTTSSystem(System):
    """Released models by config name, and folders with config.yaml and model.safetensors."""

    name = "pocket_tts"
    module = "calm_ft.adapters.pocket_tts"
    packages = ("pocket-tts",)

    def is_export(self, folder: Path) -> bool:
        return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()

    def load(self, model: str) -> TTSAdapter:
        # Flow matching trains every head; what a model says does not depend on the objective.
        objective = FlowMatching(LinearInterpolant(), LogitNormalTimes(), NoWeighting())
        return PocketTTSAdapter(model, objective)

    def takes(self, name: str) -> bool:
        return is_released(name) or name.endswith((".yaml", ".yml"))

    def default_voice(self, folder: Path) -> Path | None:
        return folder / VOICE if (folder / VOICE).is_file() else None

    def relocate(self, folder: Path) -> None:
        relocate(folder)

    def publish(self, folder: Path, repo: str) -> str:
        return push_to_hub(folder, repo)

    def miniature(self, settings: Mapping[str, Any]) -> Miniature | None:
        model, local_dir = str(settings.get("model")), settings.get("local_dir")
        if local_dir is None and (is_remote(model) or is_released(model)):
            return None  # nothing is fetched for this question
        try:
            config = load_config(model, local_dir)
        except UserError:  # said when the model is loaded
            return None
        return EMBEDDED if is_miniature(config) else None


SYSTEM = PocketTTSSystem()
