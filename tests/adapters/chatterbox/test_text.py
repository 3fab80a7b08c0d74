"""Text reaches T3 as stock generation feeds it; what does not reach it is said."""

import pytest
from chatterbox.tts import punc_norm

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.errors import UserError
from tests.adapters.chatterbox.conftest import make_adapter


def test_tokens_are_those_of_stock_with_start_and_stop(adapter: ChatterboxAdapter) -> None:
    text = "well…  he said: “no” – twice"
    expected = adapter.models.tokenizer.text_to_tokens(punc_norm(text))[0].tolist()
    assert adapter.text.tokens(text).tolist() == [255, *expected, 0]


def test_a_text_beyond_the_limit_is_refused_with_both_numbers() -> None:
    adapter = make_adapter(max_text_tokens=10)
    adapter.check_text("Ten here.")
    with pytest.raises(UserError, match=r"has 1[0-9] tokens, more than adapter.max_text_tokens=10"):
        adapter.check_text("Many more here.")


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_refused_though_stock_would_speak_one_of_its_own(adapter, text: str) -> None:
    with pytest.raises(UserError, match="is empty"):
        adapter.check_text(text)


def test_a_text_of_unknown_characters_alone_is_refused(adapter: ChatterboxAdapter) -> None:
    with pytest.raises(UserError, match="known to the model's tokenizer"):
        adapter.check_text("日本語-")


def test_replaced_and_unknown_characters_are_counted(adapter: ChatterboxAdapter) -> None:
    report = adapter.text_coverage("“Naïve” – ça; yes")
    assert report.unknown == {"ï": 1, "ç": 1}
    assert set(report.dropped) == {"“", "”", "–", ";"}
