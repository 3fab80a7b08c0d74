"""Characters as a recogniser's units: text to numbers, and frames of log-probabilities to text.

Number 0 is CTC's blank (Graves et al. 2006, "Connectionist Temporal Classification", section 3.1).
"""

import unicodedata

import torch

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
BLANK = 0
NUM_UNITS = 1 + len(CHARACTERS)


def spoken_characters(text: str) -> str:
    """Lower-case letters, apostrophes and single spaces; all else separates words, accents are dropped.

    Digits are not spelled out: they vanish.
    """
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    kept = "".join(
        character if character in CHARACTERS else " " for character in plain if not unicodedata.combining(character)
    )
    return " ".join(kept.split())


def encode_text(text: str) -> torch.Tensor:
    """Units `[L]` (int64, 1 to `NUM_UNITS - 1`) of the text's spoken characters."""
    return torch.tensor([1 + CHARACTERS.index(character) for character in spoken_characters(text)], dtype=torch.long)


def decode_greedily(scores: torch.Tensor) -> str:
    """The best path's text (Graves et al. 2006, section 3.2): repeats merged, then blanks dropped.

    `scores` `[T, NUM_UNITS]`: log-probabilities, or anything that orders units as they do. `T` may be 0.
    """
    best = torch.unique_consecutive(scores.argmax(dim=-1)) if len(scores) else torch.zeros(0, dtype=torch.long)
    text = "".join(CHARACTERS[unit - 1] for unit in best.tolist() if unit != BLANK)
    return " ".join(text.split())
