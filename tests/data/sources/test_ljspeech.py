"""LJSpeech tables: columns, where the audio lies, and rows that are wrong."""

import unicodedata

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError


def test_normalized_text_is_preferred_and_the_plain_text_stands_in_for_an_empty_one(tmp_path, write_clip):
    for name in "abc":
        write_clip(f"wavs/{name}.wav")
    (tmp_path / "metadata.csv").write_text("a|In 1455|In fourteen fifty-five\nb|plain|\nc|two columns\n")
    recordings = read_recordings(tmp_path)
    assert [(u.id, u.text) for u in recordings.utterances] == [
        ("wavs/a", "In fourteen fifty-five"),
        ("wavs/b", "plain"),
        ("wavs/c", "two columns"),
    ]
    assert recordings.format_name == "LJSpeech metadata.csv, 3 rows"


@pytest.mark.parametrize(
    ("audio", "row_name"), [("wavs/a.wav", "a"), ("a.flac", "a"), ("wavs/a.wav", "a.wav"), ("x/a.OGG", "x/a")]
)
def test_audio_lies_in_wavs_or_beside_and_the_suffix_may_be_given(tmp_path, write_clip, audio, row_name):
    path = write_clip(audio)
    (tmp_path / "metadata.csv").write_text(f"{row_name}|hello\n")
    assert [u.audio_path for u in read_recordings(tmp_path).utterances] == [path]


def test_the_metadata_file_itself_may_be_given(tmp_path, write_clip):
    write_clip("wavs/a.wav")
    (tmp_path / "metadata.csv").write_text("a|hello\n")
    assert read_recordings(tmp_path / "metadata.csv").utterances == read_recordings(tmp_path).utterances


def test_bad_rows_are_excluded_with_their_line_numbers(tmp_path, write_clip):
    write_clip("wavs/a.wav")
    write_clip("wavs/b.wav")
    rows = [b"a|good", b"", b"gone|hello", b"no bar", b"b|", b"b|caf\xe9", b"a|again", b"b|x|y|z"]
    (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(rows))
    recordings = read_recordings(tmp_path)
    assert [(u.id, u.text) for u in recordings.utterances] == [("wavs/a", "good")]
    table = tmp_path / "metadata.csv"
    assert [(exclusion.path, exclusion.reason) for exclusion in recordings.exclusions] == [
        (f"{table}:3", "there is no audio file 'gone'"),
        (f"{table}:4", "the row has 1 columns and should be id|text or id|text|normalized text"),
        (f"{table}:5", "the text is empty"),
        (f"{table}:6", "the text is not UTF-8"),
        (f"{table}:7", "the clip 'wavs/a' was given before, as a.wav"),
        (f"{table}:8", "the row has 4 columns and should be id|text or id|text|normalized text"),
    ]


def test_a_name_matches_its_file_across_unicode_forms(tmp_path, write_clip):
    path = write_clip(unicodedata.normalize("NFD", "wavs/\u00fcber.wav"))
    row = unicodedata.normalize("NFC", "\u00fcber|hello")
    (tmp_path / "metadata.csv").write_text(row, encoding="utf-8")
    assert [u.audio_path for u in read_recordings(tmp_path).utterances] == [path]


def test_a_line_separator_inside_a_text_does_not_split_the_row(tmp_path, write_clip):
    write_clip("wavs/a.wav")
    (tmp_path / "metadata.csv").write_text("a|one\u2028two\n", encoding="utf-8")
    assert [u.text for u in read_recordings(tmp_path).utterances] == ["one two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file"),
        ("a,hello\n", "found 'a,hello': give it a header such as path,text"),
        ("gone|hello\n", "1 left out, most often because there is no audio file 'gone'"),
    ],
)
def test_a_table_that_gives_no_clip_is_refused(tmp_path, write_clip, content, message):
    write_clip("wavs/a.wav")
    (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        read_recordings(tmp_path)
