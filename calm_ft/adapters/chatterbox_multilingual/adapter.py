"""Chatterbox Multilingual as a `TTSAdapter`: the English model's rows, guidance and emotion, with text in 19 languages.

`adapter.language` is what the model speaks. A clip whose list gives it another language trains in that one.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from chatterbox.tts import Conditionals
from torch import Tensor

from calm_ft.adapters.base import FitsVocabulary, checked_language
from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.export import StockClass
from calm_ft.adapters.chatterbox.objective import ChatterboxObjective
from calm_ft.adapters.chatterbox.synthesis import SamplingSettings, SpokenTokens
from calm_ft.adapters.chatterbox_multilingual.languages import (
    GREETINGS,
    LANGUAGE_FILE,
    NEEDS,
    check_language,
    fault_of,
    language_beside,
)
from calm_ft.adapters.chatterbox_multilingual.models import (
    TINY_TOKENIZER_FILES,
    TOKENIZER,
    GraphemeTokenizer,
    MultilingualBuilders,
    full_size,
    tiny_models,
)
from calm_ft.adapters.chatterbox_multilingual.speaking import draw_with_analyzer
from calm_ft.adapters.chatterbox_multilingual.system import MULTILINGUAL
from calm_ft.adapters.chatterbox_multilingual.text import MultilingualText
from calm_ft.adapters.chatterbox_multilingual.vocabulary import RELEASED, TAG, begin_rows, extended, with_new_rows
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError

TEXT_TABLES = ("t3.text_emb.weight", "t3.text_head.weight")


class ChatterboxMultilingualAdapter(ChatterboxAdapter):
    """Chatterbox Multilingual, which is told by a tag in which language a text is."""

    release = MULTILINGUAL
    builders = MultilingualBuilders(full_size, tiny_models, TINY_TOKENIZER_FILES)
    repetition_penalty = 2.0

    def __init__(
        self,
        model: str,
        objective: ChatterboxObjective,
        local_dir: str | None = None,
        max_text_tokens: int = 256,
        max_speech_tokens: int = 1000,
        prompt_sec: float = 6.0,
        exaggeration: float = 0.5,
        cfg_weight: float = 0.5,
        gradient_checkpointing: bool = False,
        seed: int = 0,
        language: str | None = None,
    ) -> None:
        """Load a model; the arguments are the English model's, but that there is no language by default.

        Raises UserError for every way in which the model cannot be had or trained, and for a language that it lacks.
        """
        self._language_of_the_files = None if local_dir is None else language_beside(Path(local_dir).expanduser())
        super().__init__(
            model,
            objective,
            local_dir,
            max_text_tokens,
            max_speech_tokens,
            prompt_sec,
            exaggeration,
            cfg_weight,
            gradient_checkpointing,
            seed,
            self._checked_language(None if language is None else checked_language(language)),
        )
        self.stock = StockClass("chatterbox.mtl_tts", "ChatterboxMultilingualTTS", self._first_words())

    def _checked_language(self, language: str | None) -> str:
        """Raises UserError for a language that the model cannot be given, and where there is none."""
        return check_language(language, self._language_of_the_files)

    def _first_words(self) -> str:
        """What an export says first, as arguments of stock's `generate`."""
        if self.language in GREETINGS:
            return f'"{GREETINGS[self.language]}", language_id="{self.language}"'
        return f'"[{self.language}]Hello there.", language_id=None'

    def _text(self, max_text_tokens: int) -> MultilingualText:
        return MultilingualText(self.models.tokenizer, self.t3.hp, max_text_tokens, self.language)

    def language_of(self, utterance: Utterance) -> str:
        """What the list gives the clip, or else the adapter's own."""
        return utterance.language or self.language

    def check_utterance(self, utterance: Utterance) -> None:
        language = self.language_of(utterance)
        if language != self.language and language not in GREETINGS:
            raise UserError(f"it is in {language}: {fault_of(language)}.")
        self._tokens(utterance)

    def _tokens(self, utterance: Utterance) -> Tensor:
        assert isinstance(self.text, MultilingualText)
        return self.text.tokens(utterance.text, self.language_of(utterance))

    def _draw(self, voice: Conditionals, text_tokens: Tensor, sampling: SamplingSettings) -> SpokenTokens:
        return draw_with_analyzer(self.models, voice, text_tokens, sampling)

    def export(self, directory: Path, voice_prompt: Path) -> None:
        files = self.models.tokenizer_files
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.models.tokenizer_files = {**files, **self._written_anew(Path(folder))}
                super().export(directory, voice_prompt)
            finally:
                self.models.tokenizer_files = files

    def _written_anew(self, folder: Path) -> Mapping[str, Path]:
        """Files that an export has beside the weights and that are not the base's, by their names."""
        (folder / LANGUAGE_FILE).write_text(f"{self.language}\n", encoding="utf-8")
        return {LANGUAGE_FILE: folder / LANGUAGE_FILE}


class NewLanguageAdapter(ChatterboxMultilingualAdapter, FitsVocabulary):
    """Chatterbox Multilingual that is to learn a language, whose characters and tag take the places of unread tokens.

    Stock loads its exports. It reads their texts with the tag written out, as in "[xx]...", for its list of languages
    stays as it is.
    """

    reused_rows: Tensor
    """[V] int64, what each row of T3's text tokens means now (see vocabulary.py)."""

    def __init__(
        self,
        model: str,
        objective: ChatterboxObjective,
        local_dir: str | None = None,
        max_text_tokens: int = 256,
        max_speech_tokens: int = 1000,
        prompt_sec: float = 6.0,
        exaggeration: float = 0.5,
        cfg_weight: float = 0.5,
        gradient_checkpointing: bool = False,
        seed: int = 0,
        language: str | None = None,
    ) -> None:
        """Load a model; the arguments are the multilingual model's, and any language code is taken but four.

        Raises UserError as the multilingual model does.
        """
        super().__init__(
            model,
            objective,
            local_dir,
            max_text_tokens,
            max_speech_tokens,
            prompt_sec,
            exaggeration,
            cfg_weight,
            gradient_checkpointing,
            seed,
            language,
        )
        self._max_text_tokens = max_text_tokens
        self._released = self.models.tokenizer.tokenizer
        self.register_buffer("reused_rows", torch.full((self.t3.text_emb.num_embeddings,), RELEASED))

    def _check_objective(self, objective: ChatterboxObjective) -> None:
        if not objective.reaches("t3.text_embedding"):
            raise UserError(
                "A language is learned by T3, which the objective does not train: choose "
                "experiment=chatterbox_new_language."
            )

    def _checked_language(self, language: str | None) -> str:
        if language is None:
            raise UserError("adapter.language is missing: give the code of the language to be learned, such as vi.")
        if language in NEEDS:
            raise UserError(f"adapter.language={language} cannot be learned so: {fault_of(language)}.")
        return language

    def describe(self) -> str:
        num_characters = int((self.reused_rows > RELEASED).sum())
        tag = f"the tag [{self.language}] and " if bool((self.reused_rows == TAG).any()) else ""
        return f"{super().describe()} with {tag}{num_characters} characters of {self.language} in unread rows"

    def fit_vocabulary(self, texts: Iterable[str]) -> None:
        is_new = self.language not in GREETINGS
        self._take(with_new_rows(self._released, len(self.reused_rows), list(texts), self.language, is_new))

    def take_vocabulary(self, state: Mapping[str, Tensor]) -> None:
        self._take(state["reused_rows"])

    def renew_vocabulary(self) -> None:
        self.models.tokenizer = GraphemeTokenizer(extended(self._released, self.reused_rows, self.language))
        self.text = self._text(self._max_text_tokens)

    def fitted_state(self) -> dict[str, Tensor]:
        tables = {name: p.detach() for name, p in self.named_parameters() if name in TEXT_TABLES}
        return {"reused_rows": self.reused_rows, **tables}

    def _take(self, reused_rows: Tensor) -> None:
        self.reused_rows.copy_(reused_rows)
        begin_rows([self.t3.text_emb.weight, self.t3.text_head.weight], self.reused_rows)
        self.renew_vocabulary()

    def _written_anew(self, folder: Path) -> Mapping[str, Path]:
        path = folder / TOKENIZER
        self.models.tokenizer.tokenizer.save(str(path))
        return {**super()._written_anew(folder), TOKENIZER: path}
