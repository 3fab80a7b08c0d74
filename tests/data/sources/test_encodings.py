"""Texts in any encoding become the same text, or stay as they are; never other letters."""

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.encodings import common_code_page, decode_content

FRENCH = "Où est la gare ? C’est très loin d’ici."
TEXTS = {
    "cp1252": FRENCH,
    "cp1250": "Wszystko będzie dobrze, proszę się nie bać. Dziękuję, żółw śpi.",
    "cp1251": "Сегодня хорошая погода, и мы идём домой.",
    "koi8_r": "Сегодня хорошая погода, и мы идём домой.",
    "cp1253": "Σήμερα είναι ωραία μέρα και πάμε στη θάλασσα.",
    "cp1254": "Bugün hava çok güzel, değil mi? İstanbul şehri ışıl ışıl.",
    "cp932": "今日はいい天気ですね。こんにちは、元気ですか。",
    "gb18030": "你好，今天天气很好。我们回家吧。",
    "mac_roman": FRENCH,
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_long_text_is_read_in_its_code_page(encoding):
    text = "\n".join(f"{line}, {TEXTS[encoding]}" for line in range(20))
    decoded = decode_content(text.encode(encoding))
    assert (decoded.content.decode(), decoded.encoding) == (text, encoding)


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("length", [4, 8, 16, 32])
def test_a_short_text_is_read_right_or_left_as_it_is(encoding, length):
    content = TEXTS[encoding][:length].encode(encoding)
    decoded = decode_content(content)
    if encoding == "cp1250" and length > 8:  # with no other letter than its ę: French ê has the same byte, and is named
        assert (decoded.content.decode(), decoded.encoding) == (content.decode("cp1252"), "cp1252")
    else:
        assert decoded.content in (TEXTS[encoding][:length].encode(), content)


@pytest.mark.parametrize(
    "text",
    [
        FRENCH,
        "Grüße aus München!",
        "¿Dónde está el niño?",
        "It’s “fine” – really… £5.",
        "São João, amanhã",
        "Så är det",
    ],
)
def test_western_languages_are_told_by_a_single_sentence(text):
    assert decode_content(text.encode("cp1252")).content.decode() == text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", ["hello", "path,text\r\na.wav,été\r\n", "да, он дома 1\n"])
def test_every_form_of_unicode_is_read(encoding, text):
    assert decode_content(text.encode(encoding)).content == text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"caf\xc3",  # a letter cut in half is no Portuguese
        b"\xc3\xa9t\xc3\xa9, caf\xe9",
        b"ca\x81\xff",
        "Привет".encode("cp1251"),
        b"abc\0",
    ],
)
def test_what_cannot_be_told_is_not_guessed(content):
    assert decode_content(content).content == content


def test_a_list_in_utf8_with_one_broken_row_stays_utf8_and_a_list_in_a_code_page_keeps_a_row_of_utf8():
    broken = "été\nété\n".encode() + b"caf\xe9\n"
    assert decode_content(broken).content == broken
    mixed = "été\ngare où\nforêt\nmère\npère\n".encode("cp1252") + "déjà\n".encode()
    assert decode_content(mixed).content.decode() == "été\ngare où\nforêt\nmère\npère\ndéjà\n"


def test_no_text_is_no_code_page():
    assert common_code_page([]) is None
    assert common_code_page([b"plain", "été".encode()]) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_tables_as_spreadsheets_save_them_are_read(tmp_path, write_clip, encoding, delimiter, line_end):
    write_clip("clips/Été.WAV")
    write_clip("clips/b.wav")
    rows = [["Path", "Text"], ["D:\\voix\\clips\\été.wav", "L’été à Orléans"], ["clips\\B.wav", "fin"]]
    table = "".join(delimiter.join(row) + line_end for row in rows)
    (tmp_path / "metadata.csv").write_bytes(table.encode(encoding))
    recordings = read_recordings(tmp_path)
    assert [u.text for u in recordings.utterances] == ["L’été à Orléans", "fin"]
    assert recordings.exclusions == []
    said = [note for note in recordings.notes if "metadata.csv was read as" in note]
    assert bool(said) == (encoding not in ("utf-8-sig",))
