"""Character and word error rates: the least number of insertions, deletions and substitutions, a reference unit.

Source: Levenshtein 1966, by the Wagner-Fischer recurrence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calm_ft.evaluation.ctc_text import spoken_characters


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Edits that turn one sequence of units into the other."""
    row = list(range(len(hypothesis) + 1))
    for position, unit in enumerate(reference, start=1):
        diagonal, row[0] = row[0], position
        for column, other in enumerate(hypothesis, start=1):
            substituted = diagonal + (unit != other)
            diagonal = row[column]
            row[column] = min(substituted, row[column] + 1, row[column - 1] + 1)
    return row[-1]


@dataclass(frozen=True)
class ErrorRates:
    """Edits a reference unit over a whole set: above 1 where more is heard than was said."""

    cer: float
    wer: float
    num_clips: int
    num_characters: int
    num_words: int


def error_rates(pairs: Iterable[tuple[str, str]]) -> ErrorRates:
    """Rates of (what was to be said, what was heard), both reduced to spoken characters first.

    Raises ValueError where no reference holds a word.
    """
    texts = [(spoken_characters(reference), spoken_characters(heard)) for reference, heard in pairs]
    num_characters = sum(len(reference) for reference, _ in texts)
    num_words = sum(len(reference.split()) for reference, _ in texts)
    if not num_words:
        raise ValueError("no reference holds a word")
    character_edits = sum(edit_distance(reference, heard) for reference, heard in texts)
    word_edits = sum(edit_distance(reference.split(), heard.split()) for reference, heard in texts)
    return ErrorRates(character_edits / num_characters, word_edits / num_words, len(texts), num_characters, num_words)
