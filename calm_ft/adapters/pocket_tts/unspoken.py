"""Which characters of a text the model never sees: taken out before the tokenizer, or unknown to it.

Byte-fallback pieces spell a character out, so that it is known. A tokenizer.json without an unknown token leaves out
what it does not know without a word.
"""

import json
from collections import Counter

from pocket_tts.modules.text_conditioner import JsonTokenizer, Tokenizer
from tokenizers import Tokenizer as Tokenizers

WORD_START = "▁"  # stands for the blank before a word


class UnknownCharacters:
    """Finds the characters that a tokenizer has no piece for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._unknown_id = _unknown_id(tokenizer)

    def __call__(self, prepared: str) -> Counter[str]:
        """The unknown characters of a text as it reaches the tokenizer."""
        if isinstance(self._tokenizer, JsonTokenizer):
            return Counter(self._unknown_in_json(self._tokenizer.tokenizer, prepared))
        ids = self._tokenizer.encode(prepared)
        pieces = self._tokenizer.sp.encode(prepared, out_type=str)
        unknown = (piece for id, piece in zip(ids, pieces, strict=True) if id == self._unknown_id)
        return Counter(each for piece in unknown for each in piece if each != WORD_START)

    def _unknown_in_json(self, tokenizer: Tokenizers, prepared: str) -> list[str]:
        written = [(place, each) for place, each in enumerate(prepared) if not each.isspace()]
        if self._unknown_id is None:
            # One by one: behind a character that is left out, the offsets of the others are wrong.
            return [each for _, each in written if not _has_token(tokenizer, each)]
        encoding = tokenizer.encode(prepared)
        known: set[int] = set()
        for id, span in zip(encoding.ids, encoding.offsets, strict=True):
            if id != self._unknown_id:
                known.update(range(*span))
        return [each for place, each in written if place not in known]


def _has_token(tokenizer: Tokenizers, character: str) -> bool:
    return any(token.strip(WORD_START) for token in tokenizer.encode(character).tokens)


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    if not isinstance(tokenizer, JsonTokenizer):
        return int(tokenizer.sp.unk_id())
    model = json.loads(tokenizer.tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    return None if model.get("unk_token") is None else tokenizer.tokenizer.token_to_id(model["unk_token"])
