"""Text as stock generation consumes it: upstream's punctuation, its tokenizer, start and stop tokens around it.

Source: chatterbox/tts.py (`punc_norm`, `generate`).
"""

from collections import Counter

import torch
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.models.tokenizers import EnTokenizer, MTLTokenizer
from chatterbox.tts import punc_norm
from torch import Tensor

from calm_ft.adapters.text_coverage import TextCoverage, replaced_characters
from calm_ft.errors import UserError

UNKNOWN = "[UNK]"


class ChatterboxText:
    """Prepares and tokenizes text as the given model's stock generation does."""

    def __init__(self, tokenizer: EnTokenizer | MTLTokenizer, config: T3Config, max_text_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._max_text_tokens = max_text_tokens
        self._unknown_id = tokenizer.tokenizer.token_to_id(UNKNOWN)
        self._is_known: dict[str, bool] = {}

    def tokens(self, text: str) -> Tensor:
        """Token ids [S] int64, start and stop token included.

        Raises UserError where nothing of the text is left, or more than max_text_tokens.
        """
        if not text.strip():
            raise UserError(f"The text {text!r} is empty: write some words.")
        prepared = punc_norm(text)
        ids = self._tokenizer.encode(prepared)
        if not any(each.isalnum() and self._knows(each) for each in prepared):  # upstream adds a full stop
            raise UserError(f"Nothing of the text {text!r} is known to the model's tokenizer: write some words.")
        self._check_length(text, len(ids))
        return torch.tensor([self._config.start_text_token, *ids, self._config.stop_text_token])

    def text_coverage(self, text: str) -> TextCoverage:
        """What upstream's punctuation takes out or replaces, and what of the rest the tokenizer lacks."""
        if not text.strip():
            return TextCoverage()
        prepared = punc_norm(text)
        unknown = Counter(each for each in prepared if not each.isspace() and not self._knows(each))
        return TextCoverage(replaced_characters(text, prepared), unknown)

    def _check_length(self, text: str, num_tokens: int) -> None:
        if num_tokens > self._max_text_tokens:
            raise UserError(
                f"The text {text[:60]!r}... has {num_tokens} tokens, more than adapter.max_text_tokens="
                f"{self._max_text_tokens}: split the recording, or raise the limit."
            )

    def _knows(self, character: str) -> bool:
        if character not in self._is_known:
            ids = self._tokenizer.encode(character)
            self._is_known[character] = bool(ids) and self._unknown_id not in ids
        return self._is_known[character]
