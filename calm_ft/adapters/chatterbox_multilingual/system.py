"""Chatterbox Multilingual as the registry knows it, without its package."""

from pathlib import Path

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.chatterbox.files import CONDITIONALS, Release
from calm_ft.adapters.chatterbox.system import ChatterboxFamilySystem
from calm_ft.adapters.chatterbox_multilingual.languages import LANGUAGE_FILE, language_beside
from calm_ft.errors import UserError

MULTILINGUAL = Release(
    "chatterbox_multilingual",
    "Chatterbox Multilingual",
    "ResembleAI/chatterbox",
    "ve.pt",
    "t3_mtl23ls_v2.safetensors",
    "s3gen.pt",
    ("grapheme_mtl_merged_expanded_v1.json",),
    (LANGUAGE_FILE, CONDITIONALS),
)


class ChatterboxMultilingualSystem(ChatterboxFamilySystem):
    """Chatterbox Multilingual; `chatterbox_multilingual:fr` is the released model speaking French."""

    release = MULTILINGUAL
    module = "calm_ft.adapters.chatterbox_multilingual"
    released = ("adapter=chatterbox_multilingual",)

    def takes(self, name: str) -> bool:
        return name.partition(":")[0] == self.name

    def load(self, model: str) -> TTSAdapter:
        """Raises UserError also where no language is named, by a folder's language.txt or behind a colon."""
        folder = Path(model)
        language = language_beside(folder) if folder.is_dir() else model.partition(":")[2] or None
        if language is None:
            way_out = f"its code, such as fr, into {folder / LANGUAGE_FILE}" if folder.is_dir() else f"{self.name}:fr"
            raise UserError(f"{model} does not say which language is spoken: write {way_out}.")
        return self._speaking(str(folder) if folder.is_dir() else None, language)

    def _adapter(self, model: str, local_dir: str | None) -> TTSAdapter:
        raise AssertionError("loaded by language")

    def _speaking(self, local_dir: str | None, language: str) -> TTSAdapter:
        from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy
        from calm_ft.adapters.chatterbox_multilingual.adapter import ChatterboxMultilingualAdapter

        objective = T3CrossEntropy(text_weight=0.1, text_dropout=0.1, condition_dropout=0.1, double_start=True)
        return ChatterboxMultilingualAdapter(self.release.repository, objective, local_dir, language=language)


SYSTEM = ChatterboxMultilingualSystem()
