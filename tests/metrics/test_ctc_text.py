"""Text becomes units and scores become text as CTC defines it."""

import pytest
import torch

from calm_ft.metrics.embedded_recogniser import (
    BLANK,
    CHARACTERS,
    NUM_UNITS,
    decode_greedily,
    encode_text,
    spoken_characters,
)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Don't  STOP, Clara!", "don't stop clara"),
        ("Ann’s café-bar", "ann's cafe bar"),
        ("  4 of 20.", "of"),
        ("!?", ""),
    ],
)
def test_only_letters_apostrophes_and_single_spaces_are_spoken(text: str, spoken: str):
    assert spoken_characters(text) == spoken


def _scores(path: str) -> torch.Tensor:
    """One-hot scores of a path in which `_` is the blank."""
    units = [BLANK if character == "_" else 1 + CHARACTERS.index(character) for character in path]
    return torch.nn.functional.one_hot(torch.tensor(units, dtype=torch.long), NUM_UNITS).float()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("__hheel_llo__", "hello"),
        ("hello", "helo"),  # without a blank between them, equal letters are one
        ("_ _a_ _ _b_ ", "a b"),
        ("____", ""),
        ("", ""),
    ],
)
def test_repeats_merge_before_blanks_are_dropped(path: str, text: str):
    assert decode_greedily(_scores(path)) == text


def test_a_text_comes_back_from_its_units_with_blanks_between_them():
    units = encode_text("The moon's bell.")
    spaced = torch.stack([units, torch.zeros_like(units)], dim=1).flatten()
    assert decode_greedily(torch.nn.functional.one_hot(spaced, NUM_UNITS)) == "the moon's bell"
