"""Text as stock generation consumes it: prepared by upstream's own function, then tokenized; and what gets lost.

Source: pocket_tts/models/text_chunking.py (`prepare_text_prompt`, `split_into_best_sentences`). Stock splits at 50
tokens before generating; that is a chunk size for generation, not a limit of training.
"""

import re
from collections import Counter
from collections.abc import Collection
from functools import cached_property

from pocket_tts.models.text_chunking import prepare_text_prompt, split_into_best_sentences
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.text_conditioner import JsonTokenizer, Tokenizer

from calm_ft.adapters.text_coverage import TextCoverage, replaced_characters
from calm_ft.data.tokenizer import WORD_START, JsonReader, SentencePieceReader, TokenReader
from calm_ft.errors import UserError

MAX_TOKENS_PER_CHUNK = 50


def token_reader(tokenizer: Tokenizer) -> TokenReader:
    """What a tokenizer of upstream's makes of texts that are prepared for it."""
    is_json = isinstance(tokenizer, JsonTokenizer)
    return JsonReader(tokenizer.tokenizer) if is_json else SentencePieceReader(tokenizer.sp)


def spoken_words(text: str) -> list[str]:
    """The words of a text in lower case, without marks; a number is a word."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower().replace("’", "'"))


class PocketTTSText:
    """Prepares and tokenizes text exactly as the given model's stock generation does."""

    def __init__(self, tts: TTSModel, familiar_words: Collection[str] | None = None) -> None:
        """`familiar_words`: what a small model can read, in lower case; None for one that reads any word."""
        self._familiar_words = familiar_words
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

    def tokens(self, text: str, final_period: bool = True) -> list[int]:
        """Token ids of the prepared text, without its final period if that is not wanted.

        Raises UserError where none is left of it.
        """
        tokens = self._tokenizer.encode(self._written(text, final_period))
        if not tokens:
            raise UserError(f"Nothing of the text {text!r} is known to the model's tokenizer: write some words.")
        return tokens

    def _written(self, text: str, final_period: bool) -> str:
        prepared = self.prepare(text)
        return prepared if final_period else re.sub(r"\.\s*$", "", prepared) or prepared

    def word_spans(self, text: str, final_period: bool = True) -> list[tuple[int, int]]:
        """(first token, one past the last) of every word that `tokens` has; its marks count to the word before."""
        pieces = self._pieces(self._written(text, final_period))
        starts = [place for place, piece in enumerate(pieces) if piece.startswith(WORD_START)]
        spans = list(zip(starts, [*starts[1:], len(pieces)], strict=True))
        return [span for span in spans if "".join(pieces[slice(*span)]).strip(WORD_START)]

    def _pieces(self, prepared: str) -> list[str]:
        if isinstance(self._tokenizer, JsonTokenizer):
            return list(self._tokenizer.tokenizer.encode(prepared).tokens)
        return list(self._tokenizer.sp.encode(prepared, out_type=str))

    def text_coverage(self, text: str) -> TextCoverage:
        """What of a text upstream's preparation takes out or replaces, and what of the rest the tokenizer lacks."""
        try:
            prepared = self.prepare(text)
        except UserError:
            return TextCoverage(dropped=Counter(each for each in text if not each.isspace()))
        rare = (
            Counter(word for word in spoken_words(text) if word not in self._familiar_words)
            if (self._familiar_words is not None)
            else Counter()
        )
        return TextCoverage(replaced_characters(text, prepared), self._reader.unknown_characters(prepared), rare)

    @cached_property
    def _reader(self) -> TokenReader:
        return token_reader(self._tokenizer)

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
