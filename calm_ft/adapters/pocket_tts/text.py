"""Text as stock generation consumes it: prepared by upstream's own function, then tokenized.

Source: pocket_tts/models/text_chunking.py (`prepare_text_prompt`, `split_into_best_sentences`). Stock splits
at 50 tokens before generating; that is a chunk size for generation, not a limit of training.
"""

from collections import Counter
from functools import cached_property

from pocket_tts.models.text_chunking import prepare_text_prompt, split_into_best_sentences
from pocket_tts.models.tts_model import TTSModel

from calm_ft.adapters.pocket_tts.unspoken import UnknownCharacters
from calm_ft.adapters.text_coverage import TextCoverage, replaced_characters
from calm_ft.errors import UserError

MAX_TOKENS_PER_CHUNK = 50


class TextFrontend:
    """Prepares and tokenizes text exactly as the given model's stock generation does."""

    def __init__(self, tts: TTSModel) -> None:
        self._tokenizer = tts.flow_lm.conditioner.tokenizer
        self._options = (
            tts.pad_with_spaces_for_short_inputs,
            tts.remove_semicolons,
            tts.append_terminal_punctuation,
            tts.capitalize_first_letter,
            tts.replace_characters,
        )
        self._recommended_frames_after_eos = tts.model_recommended_frames_after_eos

    def prepare(self, text: str) -> str:
        """The string that reaches the tokenizer. Raises UserError for text that is empty once prepared."""
        try:
            return prepare_text_prompt(text, *self._options)[0]
        except ValueError as error:
            raise UserError(
                f"The text {text!r} is empty after upstream's text preparation: write some words."
            ) from error

    def tokens(self, text: str) -> list[int]:
        """Token ids of the prepared text. Raises UserError where none is left of it."""
        tokens = self._tokenizer.encode(self.prepare(text))
        if not tokens:
            raise UserError(f"Nothing of the text {text!r} is known to the model's tokenizer: write some words.")
        return tokens

    def text_coverage(self, text: str) -> TextCoverage:
        """What of a text upstream's preparation takes out or replaces, and what of the rest the tokenizer lacks."""
        try:
            prepared = self.prepare(text)
        except UserError:
            return TextCoverage(dropped=Counter(each for each in text if not each.isspace()))
        return TextCoverage(replaced_characters(text, prepared), self._unknown_characters(prepared))

    @cached_property
    def _unknown_characters(self) -> UnknownCharacters:
        return UnknownCharacters(self._tokenizer)

    def chunks(self, text: str) -> list[tuple[list[int], int]]:
        """(token ids, frames to generate after the EOS) for each chunk that stock would generate by itself.

        Raises UserError where nothing of the text reaches the model.
        """
        self.tokens(text)
        pad, *options = self._options
        pieces = split_into_best_sentences(self._tokenizer, text, MAX_TOKENS_PER_CHUNK, pad, *options)
        chunks = []
        for piece in pieces:
            chunk, guess = prepare_text_prompt(piece, *self._options)
            recommended = self._recommended_frames_after_eos
            chunks.append((self._tokenizer.encode(chunk), guess + 2 if recommended is None else recommended))
        return chunks
