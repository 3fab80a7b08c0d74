"""The text tokenizer: 256 SentencePiece unigram pieces, trained on the FlowLM corpus's texts.

Pieces are at most 5 characters long: longer ones would be whole words of the templates, seen with one
pronunciation only, and teach nothing about words that the corpus lacks. Every letter, digit and common mark
has a piece of its own.
"""

import io
import string
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from calm_ft.atomic_file import atomic_path
from tools.nano.shape import NUM_TEXT_PIECES

_MAX_PIECE_CHARACTERS = 5
_REQUIRED_CHARACTERS = string.ascii_letters + string.digits + ".,!?'-"


def train_tokenizer(texts: Iterable[str], path: Path) -> Path:
    """Train on texts and write `path` (a SentencePiece model) atomically."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="unigram",
        vocab_size=NUM_TEXT_PIECES,
        max_sentencepiece_length=_MAX_PIECE_CHARACTERS,
        character_coverage=1.0,
        required_chars=_REQUIRED_CHARACTERS,
        byte_fallback=False,
        num_threads=1,
        minloglevel=2,
    )
    with atomic_path(path) as partial:
        partial.write_bytes(model.getvalue())
    return path


def num_pieces(path: Path) -> int:
    """How many pieces a tokenizer file has."""
    return sentencepiece.SentencePieceProcessor(model_file=str(path)).vocab_size()
