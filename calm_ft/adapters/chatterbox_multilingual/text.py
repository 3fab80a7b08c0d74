"""Text as the multilingual model's stock generation consumes it: lower case, decomposed, the language's tag before it.

Stock's analyzer of alignments fails on a text of one token with its tag and its final mark (chatterbox #548), so such
a mark is written twice, as whoever writes "A.." for stock does.

Source: chatterbox/mtl_tts.py (`punc_norm`, `generate`), chatterbox/models/tokenizers/tokenizer.py (`MTLTokenizer`).
"""

import torch
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.mtl_tts import SUPPORTED_LANGUAGES, punc_norm
from torch import Tensor

from calm_ft.adapters.chatterbox.text import ChatterboxText
from calm_ft.adapters.chatterbox_multilingual.models import GraphemeTokenizer
from calm_ft.errors import UserError

MIN_TOKENS = 6  # with start and stop; of five, stock's generation fails


class MultilingualText(ChatterboxText):
    """Prepares and tokenizes text in any of the model's languages.

    A language that stock's list lacks has its tag written in the text, which is how stock can be given it.
    """

    def __init__(self, tokenizer: GraphemeTokenizer, config: T3Config, max_text_tokens: int, language: str) -> None:
        """language: of texts that come without one."""
        super().__init__(tokenizer, config, max_text_tokens)
        self._graphemes = tokenizer
        self._language = language

    def tokens(self, text: str, language: str | None = None) -> Tensor:
        """Token ids [S] int64, start and stop token included, of a text in a language (None: the model's own).

        Raises UserError where nothing of the text is left, or more than max_text_tokens.
        """
        if not text.strip():
            raise UserError(f"The text {text!r} is empty: write some words.")
        prepared, language_id = _prepared(text, language or self._language)
        if not any(each.isalnum() and self._knows(each) for each in text):
            raise UserError(f"Nothing of the text {text!r} is known to the model's tokenizer: write some words.")
        ids = self._graphemes.encode(prepared, language_id)
        while len(ids) + 2 < MIN_TOKENS:
            prepared += prepared[-1]
            ids = self._graphemes.encode(prepared, language_id)
        self._check_length(text, len(ids))
        return torch.tensor([self._config.start_text_token, *ids, self._config.stop_text_token])


def _prepared(text: str, language: str) -> tuple[str, str | None]:
    """(text, language_id) as stock's tokenizer is called."""
    if language in SUPPORTED_LANGUAGES:
        return punc_norm(text), language
    return punc_norm(f"[{language}]{text.strip()}"), None
