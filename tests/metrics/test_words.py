"""Word and character errors, in English and in other languages."""

import numpy as np
import pytest

from calm_ft.metrics.base import NotMeasured, SpeechClip
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.metrics.words import WordErrors, error_rates, normaliser
from tests.metrics.conftest import RATE_HZ, Hears, given, number, recording, voiced


def test_one_wrong_word_of_five_is_a_fifth() -> None:
    rates = error_rates("The cat sat down here.", "the cat sat down there")
    assert rates["wer"] == pytest.approx(1 / 5)
    assert rates["cer"] == pytest.approx(1 / len("the cat sat down here"))


def test_a_word_that_is_not_in_the_recording_is_one_error_by_a_real_recogniser() -> None:
    text, audio, rate_hz = recording(0)
    metric, words = WordErrors(EmbeddedASR()), text.split()
    heard_as_written = number(metric, SpeechClip(audio, rate_hz, text), "wer")
    words[1] = "elephant"
    with_another = number(metric, SpeechClip(audio, rate_hz, " ".join(words)), "wer")
    assert with_another - heard_as_written == pytest.approx(1 / len(words))


def test_a_runaway_transcript_exceeds_one() -> None:
    assert error_rates("Yes.", "yes yes yes yes")["wer"] == 3.0


def test_spelling_numbers_case_and_punctuation_are_no_errors() -> None:
    rates = error_rates("Mr. Grey can't colour twenty-one dogs!", "mister gray can not color 21 dogs")
    assert rates == {"wer": 0.0, "cer": 0.0}


def test_silence_is_all_words_missed() -> None:
    measured = WordErrors(Hears("anything")).measure(SpeechClip(np.zeros(RATE_HZ), RATE_HZ, "Two words."))
    assert measured == {"wer": 1.0, "cer": 1.0}


@pytest.mark.parametrize(
    ("audio", "text", "reason"),
    [(np.zeros(0), "Two words.", "no samples"), (voiced(120), "", "no word"), (voiced(120), "?!", "no word")],
)
def test_no_audio_and_no_text_have_no_rate_but_a_reason(audio: np.ndarray, text: str, reason: str) -> None:
    measured = WordErrors(Hears("a")).measure(SpeechClip(audio, RATE_HZ, text))
    assert all(isinstance(each, NotMeasured) and reason in each.reason for each in measured.values())


@pytest.mark.parametrize(
    ("language", "text", "wrong"),
    [
        ("de", "Er kümmert sich um drei Uhr um alles.", "Er kümmert sich drei Uhr alles."),
        ("pt", "Quero um café e um pão.", "Quero café e pão."),
    ],
)
def test_um_is_a_word_in_languages_where_it_is_one(language: str, text: str, wrong: str) -> None:
    assert error_rates(text, text.lower().replace(".", ""), language) == {"wer": 0.0, "cer": 0.0}
    missed = error_rates(text, wrong, language)["wer"]
    assert missed == pytest.approx(2 / len(text.split()))
    assert error_rates(text, wrong, "en")["wer"] == 0.0  # which is why English rules must not reach other languages


@pytest.mark.parametrize("language", ["de", "pt"])
def test_a_price_stays_as_it_is_written_in_languages_with_a_decimal_comma(language: str) -> None:
    assert normaliser(language)("Das kostet 3,50 Euro.").split() == ["das", "kostet", "3", "50", "euro"]
    assert error_rates("3,50 Euro", "3,50 euro", language)["wer"] == 0.0
    assert error_rates("3,50 Euro", "350 euro", language)["wer"] != 0.0


@pytest.mark.parametrize(
    ("language", "text"), [("de", "Übermütig schön"), ("pt", "Não há pão"), ("fr", "Où est-elle ?")]
)
def test_accents_are_kept_and_case_and_punctuation_are_not(language: str, text: str) -> None:
    assert error_rates(text, text.upper() + "!", language)["cer"] == 0.0
    plain = text.translate(str.maketrans("Üüöãáù", "uuoaau"))
    assert float(error_rates(text, plain, language)["cer"]) > 0  # type: ignore[arg-type]


def test_scores_are_kept_apart_by_recogniser_and_language() -> None:
    metrics = [WordErrors(Hears("a")), WordErrors(Hears("b")), WordErrors(Hears("a"), "de")]
    assert len({metric.identity for metric in metrics}) == 3
    assert WordErrors.build(given(recogniser=Hears("a"), language="de")).identity == metrics[2].identity
