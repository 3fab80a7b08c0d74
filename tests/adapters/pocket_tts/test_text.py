"""What of a text is not heard: counted by upstream's own preparation and by every kind of tokenizer."""

import io
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import sentencepiece
import tokenizers
from pocket_tts.modules.text_conditioner import JsonTokenizer, SentencePieceTokenizer

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.text import PocketTTSText
from calm_ft.adapters.text_coverage import TextCoverage
from tests.adapters.tiny_bundle import TEXTS, write_json_tokenizer, write_sentencepiece, write_tiny_bundle
from tests.conftest import default_objective

RELEASED_REPLACEMENTS = {'"': "", "\u201c": "", "\u201d": "", "(": "", ")": "", "\u2019": "'", "\u2014": ","}


def sentencepiece_without_fallback(folder):
    write_sentencepiece(folder / "tokenizer.model")
    return SentencePieceTokenizer(68, str(folder / "tokenizer.model"))


def sentencepiece_with_byte_fallback(folder):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=model,
        vocab_size=330,
        byte_fallback=True,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    num_pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()
    return SentencePieceTokenizer(num_pieces, str(folder / "tokenizer.model"))


def json_with_unknown_token(folder):
    return JsonTokenizer(write_json_tokenizer(folder / "tokenizer.json"), str(folder / "tokenizer.json"))


def json_of(model, folder):
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return JsonTokenizer(tokenizer.get_vocab_size(), str(folder / "tokenizer.json"))


def json_that_leaves_out(folder):
    characters = ["\u2581", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'"]
    return json_of(tokenizers.models.BPE({each: n for n, each in enumerate(characters)}, []), folder)


def json_unigram(folder):
    pieces = [
        ("<unk>", 0.0),
        *((each, -1.0) for each in "\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'"),
    ]
    return json_of(tokenizers.models.Unigram(pieces, unk_id=0, byte_fallback=False), folder)


def json_unigram_with_byte_fallback(folder):
    pieces = [("<unk>", 0.0), *((each, -1.0) for each in "\u2581abcdefghijklmnopqrstuvwxyzABCDEFGH.,!?'")]
    pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    return json_of(tokenizers.models.Unigram(pieces, unk_id=0, byte_fallback=True), folder)


def frontend(tokenizer, replacements=RELEASED_REPLACEMENTS, remove_semicolons=True):
    """The frontend of a model with this tokenizer and the text settings of a released English one."""
    settings: dict[str, Any] = dict(pad_with_spaces_for_short_inputs=True, append_terminal_punctuation=True)
    settings |= dict(capitalize_first_letter=True, replace_characters=replacements)
    settings |= dict(remove_semicolons=remove_semicolons, model_recommended_frames_after_eos=None)
    flow_lm = SimpleNamespace(conditioner=SimpleNamespace(tokenizer=tokenizer))
    return PocketTTSText(SimpleNamespace(flow_lm=flow_lm, **settings))


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("Nothing is lost here.", ""),
        ("short", ""),
        ("a full stop, a capital\nand  blanks are added or  folded", ""),
        ("\u00dfharp beginnings fold too", ""),
        ("He said \u201chi\u201d (twice) to her.", "\u201c\u201d()"),
        ("It\u2019s his \u2014 or hers; who knows?", "\u2019\u2014;"),
        ('"Is it?", she asked.', '"",'),
        ("a comma at the end,", ","),
        ("one. two... three.", ""),
        ('""', '""'),
    ],
)
def test_what_the_preparation_takes_out_or_replaces_is_counted_and_nothing_else(tmp_path, text, dropped):
    unspoken = frontend(sentencepiece_without_fallback(tmp_path)).text_coverage(text)
    assert unspoken.dropped == Counter(dropped)


KNOWN_TO_ALL = "A plain text, said twice!"


@pytest.mark.parametrize(
    ("make_tokenizer", "unknown"),
    [
        (sentencepiece_without_fallback, "\u00e9\u65e5\u672c\u00e9"),
        (json_with_unknown_token, "\u00e9\u65e5\u672c\u00e9"),
        (json_that_leaves_out, "\u00e9\u65e5\u672c\u00e9"),
        (json_unigram, "\u00e9\u65e5\u672c\u00e9"),
        (sentencepiece_with_byte_fallback, ""),
        (json_unigram_with_byte_fallback, ""),
    ],
)
def test_what_the_tokenizer_does_not_know_is_counted_and_what_it_spells_in_bytes_is_known(
    tmp_path, make_tokenizer, unknown
):
    text = frontend(make_tokenizer(tmp_path))
    assert text.text_coverage("Caf\u00e9 \u65e5\u672c is a caf\u00e9.").unknown == Counter(unknown)
    assert text.text_coverage(KNOWN_TO_ALL).unknown == Counter()


def test_a_dropped_character_is_not_counted_again_as_unknown(tmp_path):
    unspoken = frontend(sentencepiece_without_fallback(tmp_path)).text_coverage("Say \u201chi\u201d \u00fc.")
    assert (unspoken.dropped, unspoken.unknown) == (Counter("\u201c\u201d"), Counter("\u00fc"))


@pytest.mark.parametrize("json_tokenizer", [False, True])
def test_the_adapter_says_what_its_own_model_does_not_hear(tmp_path, json_tokenizer):
    bundle = write_tiny_bundle(tmp_path / "bundle", json_tokenizer=json_tokenizer)
    adapter = PocketTTSAdapter(str(bundle), default_objective())
    assert adapter.text_coverage("Na\u00efve?").unknown == Counter("\u00ef")
    assert adapter.text_coverage(KNOWN_TO_ALL) == TextCoverage()


def test_words_that_the_embedded_model_hardly_met_are_named(nano_adapter):
    coverage = nano_adapter.text_coverage("The rhythm of 42 boats puzzled Anna and her dog.")
    assert set(coverage.rare) == {"rhythm", "puzzled"}
    (line,) = coverage.warnings()
    assert line.startswith("the model hardly met these words and may stumble over them: rhythm, ")


def test_another_script_is_named_before_it_is_spoken(nano_adapter):
    unknown, rare = nano_adapter.text_coverage("Привет dog.").warnings()
    assert unknown.startswith("the model cannot read П, р, и, в, е, т:")
    assert "привет" in rare


def test_a_released_model_is_not_said_to_lack_words(tmp_path):
    coverage = frontend(sentencepiece_without_fallback(tmp_path)).text_coverage("Antidisestablishmentarianism!")
    assert not coverage.warnings()
