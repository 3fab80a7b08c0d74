"""Texts become what is spoken; numbers follow their language; foreign texts are found."""

import unicodedata

import pytest

from calm_ft.preparation.words.text import foreign_texts, language_of, spoken_form

pytest.importorskip("num2words")
pytest.importorskip("babel")
pytest.importorskip("py3langid")

NUMBERS = [
    ("en", "It cost $12.50 in 1984.", "It cost twelve dollars and fifty cents in nineteen eighty-four."),
    ("en", "1,234.5 people", "one thousand two hundred and thirty-four point five people"),
    ("en", "On March 5, 2024 at 3:05 pm", "On March fifth, twenty twenty-four at three oh five p m"),
    ("en", "Call me at 5:30 p.m.", "Call me at five thirty p m."),
    ("en", "2024-03-05", "March fifth, twenty twenty-four"),
    ("en", "the 1990s, the 21st and 50%", "the nineteen nineties, the twenty-first and fifty percent"),
    ("en", "10–20 km at 60 km/h", "ten to twenty kilometers at sixty kilometers per hour"),
    ("en", "-5 °C & 3 kg", "minus five degrees Celsius and three kilograms"),
    ("en", "Call 555-1234 for an MP3.", "Call five five five one two three four for an MP three."),
    ("en", "Dr. Ho, of Baker St. near St. Paul, No. 5", "Doctor Ho, of Baker Street near Saint Paul, number five"),
    ("en", "see https://www.asterisk.org.", "see w w w dot asterisk dot org."),
    ("en", "mail info@a-b.com", "mail info at a dash b dot com"),
    ("en", "$5 million, €0.50, 3/4, 24/7", "five million dollars, fifty cents, three quarters, twenty-four seven"),
    ("fr", "1 234,5 et 12,50 €", "mille deux cent trente-quatre virgule cinq et douze euros et cinquante centimes"),
    ("fr", "le 1er mars à 15h30", "le premier mars à quinze heures trente"),
    ("fr", "M. Roy, n° 5, 2 millions €", "Monsieur Roy, numéro cinq, deux millions d'euros"),
    ("de", "1.234,5 Leute", "eintausendzweihundertvierunddreißig Komma fünf Leute"),
    ("de", "am 3. März um 14.30 Uhr", "am dritten März um vierzehn Uhr dreißig"),
    ("de", "Es waren 3.", "Es waren drei."),
    ("de", "z. B. 1 h bzw. 1.000.000", "zum Beispiel eine Stunde beziehungsweise eine Million"),
    ("es", "1.234 y la 2ª, 12,50 €", "mil doscientos treinta y cuatro y la segunda, doce euros con cincuenta céntimos"),
    ("it", "3,14 e 5%, 1/3/2024", "tre virgola quattordici e cinque percento, primo marzo duemilaventiquattro"),
    ("pt", "R$ 5 e 05/03/2024", "cinco reais e cinco de março de dois mil e vinte e quatro"),
    ("ru", "5 % и 20 km", "пять процентов и двадцать километров"),
]


@pytest.mark.parametrize(("language", "written", "spoken"), NUMBERS)
def test_numbers_are_said_in_the_texts_language(language, written, spoken):
    assert spoken_form(written, language).text == spoken


@pytest.mark.parametrize(("language", "written", "spoken"), NUMBERS)
def test_a_spoken_text_is_left_alone(language, written, spoken):
    again = spoken_form(spoken, language)

    assert (again.text, again.changes, again.notes) == (spoken, (), ())


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello \u200b there 😀\u00a0now\ufeff", "Hello there now"),
        ("“Well” — it’s…", '"Well" - it\'s...'),
        ("<b>Bold</b> &amp; <i>thin</i>", "Bold and thin"),
        ("12\n00:00:01,000 --> 00:00:02,000\nHello there", "Hello there"),
        ("00:01 --> 00:03 Hello", "Hello"),
        ("[SPEAKER_01]: Hi", "Hi"),
        ("SPEAKER_00: Hi", "Hi"),
        ("**Bold**, *very* and [link](https://x.org)", "Bold, very and link"),
        ("- Hello", "Hello"),
    ],
)
def test_what_is_not_spoken_goes(written, spoken):
    found = spoken_form(written, "en")

    assert found.text == spoken
    assert found.changes


def test_remarks_about_sounds_are_taken_out_and_told_and_words_in_brackets_stay():
    found = spoken_form("Well [laughter] I (beep) see <noise> it *coughs* (which was old).", "en")

    assert found.text == "Well I see it (which was old)."
    assert set(found.remarks) == {"[laughter]", "(beep)", "<noise>", "*coughs*"}


def test_a_remark_alone_leaves_no_text():
    assert spoken_form("[ascending tones]", "en").text == ""
    assert spoken_form("(10 seconds of silence)", "en").text == ""


def test_letters_are_composed_and_the_change_names_the_word():
    decomposed = unicodedata.normalize("NFD", "un café noir")

    found = spoken_form(decomposed, "fr")

    assert found.text == "un café noir"
    assert found.changes == ((unicodedata.normalize("NFD", "café"), "café"),)


@pytest.mark.parametrize(
    "text", ['He said: "Don\'t!" (twice) - so there.', "¿Qué? ¡No!", "Привет, мир!", "你好。", "a , b", ""]
)
def test_a_text_with_nothing_to_change_is_the_same_text(text):
    assert spoken_form(text, "en") == type(spoken_form("", "en"))(text)


def test_persian_keeps_the_joiners_it_is_written_with():
    assert spoken_form("می\u200cروم", "fa").text == "می\u200cروم"


@pytest.mark.parametrize("language", ["xx", None])
def test_digits_stay_in_an_unknown_language_and_this_is_said(language):
    found = spoken_form("I have 5", language)

    assert found.text == "I have 5"
    assert len(found.notes) == 1


def test_every_change_of_a_text_is_kept_in_order():
    found = spoken_form("Mr. X has 2 “dogs”", "en")

    assert found.changes == (("“", '"'), ("”", '"'), ("Mr.", "Mister"), ("2", "two"))


ENGLISH = [
    "Please enter your agent number followed by the pound key.",
    "All circuits are busy now.",
    "You are currently the only participant in the conference.",
    "Goodbye.",
    "OK",
    "Menu",
]
FRENCH = {"fr1": "Veuillez composer votre numéro de poste.", "fr2": "Vous n'êtes plus en ligne maintenant."}


def test_foreign_texts_are_found_among_others_and_short_ones_raise_no_alarm():
    texts = (
        {str(index): text for index, text in enumerate(ENGLISH)} | FRENCH | {"ru": "Введите номер оператора и нажмите"}
    )

    assert foreign_texts(texts, "en") == ["fr1", "fr2", "ru"]


def test_no_text_is_foreign_to_a_language_that_is_not_known():
    assert foreign_texts(FRENCH, "xx") == []


def test_the_language_is_that_of_most_texts():
    assert language_of(ENGLISH) == "en"
    assert language_of(FRENCH.values()) == "fr"
    assert language_of(["123", "?"]) is None
