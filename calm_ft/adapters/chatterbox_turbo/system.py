"""Chatterbox Turbo as the registry knows it, without its package."""

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.chatterbox.files import CONDITIONALS, Release
from calm_ft.adapters.chatterbox.system import ChatterboxFamilySystem

TURBO = Release(
    "chatterbox_turbo",
    "Chatterbox Turbo",
    "ResembleAI/chatterbox-turbo",
    "ve.safetensors",
    "t3_turbo_v1.safetensors",
    "s3gen_meanflow.safetensors",
    ("tokenizer_config.json", "vocab.json", "merges.txt"),
    ("special_tokens_map.json", "added_tokens.json", "tokenizer.json", CONDITIONALS),
)


class ChatterboxTurboSystem(ChatterboxFamilySystem):
    """Chatterbox Turbo, which speaks English."""

    release = TURBO
    module = "calm_ft.adapters.chatterbox_turbo"

    def takes(self, name: str) -> bool:
        return name in (self.name, self.release.repository)

    def _adapter(self, model: str, local_dir: str | None) -> TTSAdapter:
        from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy
        from calm_ft.adapters.chatterbox_turbo.adapter import ChatterboxTurboAdapter

        objective = T3CrossEntropy(text_weight=0, text_dropout=0, condition_dropout=0, double_start=False)
        return ChatterboxTurboAdapter(model, objective, local_dir)


SYSTEM = ChatterboxTurboSystem()
