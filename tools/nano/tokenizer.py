"""The text tokenizer: 256 SentencePiece unigram pieces, trained on the FlowLM corpus's texts.

Pieces are at most 5 characters long: longer ones would be whole words of the templates, seen with one
pronunciation only, and teach nothing about words that the corpus lacks. Every letter, digit and common mark
has a piece of its own.
"""

import io
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

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


def add_missing_digits(source: Path, path: Path) -> int:
    """Write `source` with a piece more for each digit that it lacks; returns how many these are.

    The new pieces stand last, so that a model keeps the embeddings of the others.
    """
    messages: Any = sentencepiece_model_pb2  # its classes are made at run time
    model = messages.ModelProto.FromString(source.read_bytes())
    known = {piece.piece for piece in model.pieces}
    normal = messages.ModelProto.SentencePiece.NORMAL
    lacking = [character for character in string.digits if character not in known]
    least = min(piece.score for piece in model.pieces)
    for character in lacking:
        model.pieces.add(piece=character, score=least, type=normal)
    model.trainer_spec.vocab_size = len(model.pieces)
    with atomic_path(path) as partial:
        partial.write_bytes(model.SerializeToString())
    return len(lacking)
