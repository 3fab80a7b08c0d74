"""How the benchmark of playing pairs what it compares."""

import pytest

from benchmarks.playing import difference, ratios


def test_a_ratio_is_of_the_same_turn() -> None:
    slow_later = {"fp32": [1.0, 2.0, 4.0], "bf16": [1.0, 2.0, 4.0], "int8": [0.5, 1.0, 2.0]}
    assert ratios(slow_later, "int8") == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert ratios(slow_later, "bf16")["median"] == 1.0


def test_what_int8_costs_is_paired_by_sentence_and_noise() -> None:
    hard = {(sentence, noise): 0.1 * sentence for sentence in range(8) for noise in range(3)}
    worse = {key: value + 0.02 + 0.01 * key[1] for key, value in hard.items()}
    found = difference({"fp32": {("tuned", "cer"): hard}, "int8": {("tuned", "cer"): worse}}, "int8", "tuned", "cer")
    assert found["in_fp32"] == pytest.approx(0.35)
    assert [found[name] for name in ("change", "low", "high")] == pytest.approx([0.03] * 3)  # the same of all sentences
    assert found["by_noise"] == pytest.approx([0.02, 0.03, 0.04])
    assert found["num_sentences"] == 8
