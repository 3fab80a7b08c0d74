"""How many tokens a text has, and which of its characters a tokenizer has no piece for.

Two kinds of tokenizers: SentencePiece's (`tokenizer.model`) and that of the package tokenizers (`tokenizer.json`).
Texts are taken as they reach the tokenizer; what a model does to them before is the affair of its adapter.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any

from calm_ft.errors import UserError

WORD_START = "▁"  # stands for the blank before a word


class TokenReader(ABC):
    """One model's tokenizer."""

    @abstractmethod
    def num_tokens(self, text: str) -> int:
        """How many tokens the text has."""

    @abstractmethod
    def unknown_characters(self, text: str) -> Counter[str]:
        """How often each character that the tokenizer has no piece for occurs in the text."""


class SentencePieceReader(TokenReader):
    """Wraps a `sentencepiece.SentencePieceProcessor`."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._unknown_id = int(processor.unk_id())

    def num_tokens(self, text: str) -> int:
        return len(self._processor.encode(text, out_type=int))

    def unknown_characters(self, text: str) -> Counter[str]:
        ids, pieces = self._processor.encode(text, out_type=int), self._processor.encode(text, out_type=str)
        unknown = (piece for id, piece in zip(ids, pieces, strict=True) if id == self._unknown_id)
        return Counter(each for piece in unknown for each in piece if each != WORD_START)


class JsonReader(TokenReader):
    """Wraps a `tokenizers.Tokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._unknown_id = _unknown_id(tokenizer)

    def num_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)

    def unknown_characters(self, text: str) -> Counter[str]:
        written = [(place, each) for place, each in enumerate(text) if not each.isspace()]
        if self._unknown_id is None:
            # One by one: behind a character that is left out, the offsets of the others are wrong.
            return Counter(each for _, each in written if not self._has_token(each))
        encoding = self._tokenizer.encode(text)
        known: set[int] = set()
        for id, span in zip(encoding.ids, encoding.offsets, strict=True):
            if id != self._unknown_id:
                known.update(range(*span))
        return Counter(each for place, each in written if place not in known)

    def _has_token(self, character: str) -> bool:
        return any(token.strip(WORD_START) for token in self._tokenizer.encode(character).tokens)


def _unknown_id(tokenizer: Any) -> int | None:
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    return None if model.get("unk_token") is None else tokenizer.token_to_id(model["unk_token"])


def read_tokenizer(path: Path) -> TokenReader:
    """The tokenizer in a file: `tokenizer.model` of SentencePiece, or `tokenizer.json`.

    Raises UserError where there is no such file, or it holds neither.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The tokenizer {path} cannot be read ({error.strerror}): give the file tokenizer.model or tokenizer.json "
            "of the model."
        ) from error
    try:
        if content.lstrip()[:1] == b"{":
            from tokenizers import Tokenizer

            return JsonReader(Tokenizer.from_str(content.decode()))
        from sentencepiece import SentencePieceProcessor

        if not content:
            raise ValueError("an empty file, which SentencePiece takes for a tokenizer without pieces")
        return SentencePieceReader(SentencePieceProcessor(model_proto=content))
    except Exception as error:  # sentencepiece and tokenizers raise what they like
        raise UserError(
            f"{path} is no tokenizer that can be loaded: give the file tokenizer.model (SentencePiece) or "
            "tokenizer.json of the model."
        ) from error
