"""Text reaches T3 as stock generation feeds it in each language; what cannot be read well is refused."""

from pathlib import Path

import pytest
from chatterbox.mtl_tts import SUPPORTED_LANGUAGES, punc_norm
from huggingface_hub import file_download

from calm_ft.adapters import registry
from calm_ft.adapters.chatterbox_multilingual.adapter import ChatterboxMultilingualAdapter
from calm_ft.adapters.chatterbox_multilingual.languages import GREETINGS, NEEDS
from calm_ft.adapters.chatterbox_multilingual.models import TINY_TOKENIZER_FILES, TOKENIZER
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from tests.adapters.chatterbox_multilingual.conftest import make_adapter, upstream_tokenizer

SENTENCES = {
    "ar": "مرحباً بكم، كيف حالُكم اليوم؟",
    "da": "Rødgrød med fløde på en å, æblegrød…",
    "de": "Fünf Öfen: groß, heiß – und schön",
    "el": "Καλημέρα, πώς είστε; Ωραία μέρα",
    "en": "well…  he said: “no” – twice",
    "es": "¿Qué tal, señor? ¡Mañana sí!",
    "fi": "Hyvää yötä, äiti",
    "fr": "Ça va à l’œuvre; où êtes-vous, naïf?",
    "hi": "नमस्ते, आप कैसे हैं? क़लम।",
    "it": "Perché no? È così, più o meno",
    "ko": "안녕하세요, 반갑습니다! 값",
    "ms": "Selamat pagi, apa khabar",
    "nl": "Coördinatie en reünie in België",
    "no": "Blåbærsyltetøy på brødskive",
    "pl": "Zażółć gęślą jaźń, łódź",
    "pt": "Não há pães, avó, às três",
    "sv": "Åtta köttbullar är inte många",
    "sw": "Habari za asubuhi",
    "tr": "İstanbul'da ığdır, şöyle güzel çiçek",
}


def test_every_language_of_the_package_has_a_sentence_or_is_refused() -> None:
    assert {*GREETINGS, *NEEDS} == set(SUPPORTED_LANGUAGES)
    assert SENTENCES.keys() == GREETINGS.keys()


@pytest.fixture(scope="module")
def speaker() -> ChatterboxMultilingualAdapter:
    return make_adapter(language="fr")


@pytest.mark.parametrize("language", SENTENCES)
def test_tokens_are_those_of_stock_with_start_and_stop(speaker: ChatterboxMultilingualAdapter, language: str) -> None:
    tokenizer = upstream_tokenizer(TINY_TOKENIZER_FILES[TOKENIZER])
    for text in (SENTENCES[language], GREETINGS[language]):
        expected = tokenizer.text_to_tokens(punc_norm(text), language_id=language)[0].tolist()
        clip = Utterance("a", Path("a.wav"), text, language=language)
        speaker.check_utterance(clip)
        assert speaker._tokens(clip).tolist() == [255, *expected, 0]
        assert not speaker.text_coverage(text).unknown


def test_a_clip_trains_in_its_own_language_and_without_one_in_the_adapters(
    speaker: ChatterboxMultilingualAdapter,
) -> None:
    tag = {language: speaker.models.tokenizer.tokenizer.token_to_id(f"[{language}]") for language in ("fr", "de")}
    for listed, read in (("de", "de"), ("fr", "fr"), ("", "fr")):
        clip = Utterance("a", Path("a.wav"), "Ja, ja.", language=listed)
        assert speaker.language_of(clip) == read
        assert speaker._tokens(clip)[1] == tag[read]


@pytest.mark.parametrize("language", ["ja", "xx", "english"])
def test_a_clip_in_a_language_that_the_model_lacks_is_left_out_with_the_reason(
    speaker: ChatterboxMultilingualAdapter, language: str
) -> None:
    with pytest.raises(UserError, match=f"it is in {language}: Chatterbox.*ar, da, de, el, en"):
        speaker.check_utterance(Utterance("a", Path("a.wav"), "Words.", language=language))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (None, "adapter.language is missing.*give one of ar, da.*adapter.language=fr"),
        ("xx", "has not learned xx; it has ar, da, .*, tr .experiment=chatterbox_new_language"),
        ("zh", "spacy-pkuseg.*Cangjie5_TC.json"),
        ("ja", "pykakasi"),
        ("he", "dicta-onnx"),
        ("ru", "no registry of packages"),
        (["fr"], "no ISO 639 code"),
        ("French", "no ISO 639 code"),
    ],
)
def test_a_language_that_cannot_be_read_is_refused_with_what_is_missing(language: object, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        make_adapter(language=language)
    assert "\n" not in str(refused.value)


def test_nobody_asks_the_hub_for_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(file_download, "hf_hub_download", refuse)
    monkeypatch.setattr("chatterbox.models.tokenizers.tokenizer.hf_hub_download", refuse)
    assert len(make_adapter().text.tokens("Hello.")) > 6


def test_unknown_characters_are_counted_and_a_text_of_them_alone_is_refused(
    speaker: ChatterboxMultilingualAdapter,
) -> None:
    assert speaker.text_coverage("Ça 日本 ok — oui").unknown == {"日": 1, "本": 1}
    with pytest.raises(UserError, match="known to the model's tokenizer"):
        speaker.check_text("日本")
    with pytest.raises(UserError, match="is empty"):
        speaker.check_text(" ")
    with pytest.raises(UserError, match=r"has \d+ tokens, more than adapter.max_text_tokens=10"):
        make_adapter(max_text_tokens=10).check_text("Many more words here.")


def test_a_name_or_a_folder_that_names_no_language_is_refused_with_the_way_out(tmp_path) -> None:
    system = registry.system_of_name("chatterbox_multilingual:fr")
    assert system.name == "chatterbox_multilingual"
    with pytest.raises(UserError, match="is spoken: write chatterbox_multilingual:fr"):
        system.load("chatterbox_multilingual")
    with pytest.raises(UserError, match=r"such as fr, into .*/language.txt"):
        system.load(str(tmp_path))
