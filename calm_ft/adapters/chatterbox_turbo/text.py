"""Text as Turbo's stock generation consumes it: upstream's punctuation, GPT-2's tokenizer, nothing around its tokens.

Source: chatterbox/tts_turbo.py (`punc_norm`, `generate`).
"""

import torch
from chatterbox.tts_turbo import punc_norm
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calm_ft.adapters.chatterbox.text import ChatterboxText
from calm_ft.adapters.text_coverage import TextCoverage, replaced_characters
from calm_ft.errors import UserError


class TurboText(ChatterboxText):
    """Prepares and tokenizes text; remarks such as [laugh] and [cough] are tokens of their own in the released model.

    The tokenizer writes what it does not know as bytes, so no character is lost on the way.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_text_tokens: int) -> None:
        """Raises UserError for a limit beyond the tokenizer's own, where stock generation cuts a text."""
        most = tokenizer.model_max_length
        if max_text_tokens > most:
            raise UserError(
                f"adapter.max_text_tokens={max_text_tokens} must be an integer from 1 to {most}, where the model's "
                "tokenizer cuts a text."
            )
        self._turbo_tokenizer = tokenizer
        self._max_text_tokens = max_text_tokens

    def tokens(self, text: str) -> Tensor:
        """Token ids [S] int64.

        Raises UserError where the text has no letter or digit, or more than max_text_tokens.
        """
        if not any(character.isalnum() for character in text):
            raise UserError(f"The text {text!r} has no letter or digit: write some words.")
        ids = self._turbo_tokenizer(punc_norm(text)).input_ids
        self._check_length(text, len(ids))
        return torch.tensor(ids)

    def text_coverage(self, text: str) -> TextCoverage:
        """What upstream's punctuation takes out or replaces."""
        return TextCoverage(replaced_characters(text, punc_norm(text))) if text.strip() else TextCoverage()
