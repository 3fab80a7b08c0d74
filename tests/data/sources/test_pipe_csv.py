"""Columns between bars: which is the speaker, with and without a header."""

import pytest

from calm_ft.data.sources import read_recordings


@pytest.fixture
def read(tmp_path, write_clip):
    def read_content(content):
        for name in "abcd":
            write_clip(f"wavs/{name}.wav")
        (tmp_path / "train.txt").write_text(content, encoding="utf-8")
        return read_recordings(tmp_path)

    return read_content


@pytest.mark.parametrize(
    "content",
    [
        "wavs/a.wav|Hi there.|anna\nwavs/b.wav|Hello you.|ben\n",
        "wavs/a.wav|anna|Hi there.\nwavs/b.wav|ben|Hello you.\n",
        "audio_file|text|speaker_name\nwavs/a.wav|Hi there.|anna\nwavs/b.wav|Hello you.|ben\n",
        "speaker|text|path\nanna|Hi there.|a\nben|Hello you.|b\n",
    ],
)
def test_text_and_speaker_are_told_apart_in_every_order(read, content):
    recordings = read(content)
    assert recordings.format == "pipe_csv"
    assert [(u.id, u.text, u.speaker) for u in recordings.utterances] == [
        ("wavs/a", "Hi there.", "anna"),
        ("wavs/b", "Hello you.", "ben"),
    ]


def test_names_of_two_words_that_come_again_are_speakers(read):
    rows = [("a", "Hi there.", "Big John"), ("b", "So long.", "Little Ann"), ("c", "Come in.", "Big John")]
    rows += [("d", "What is it?", "Little Ann")]
    recordings = read("".join(f"wavs/{name}.wav|{text}|{speaker}\n" for name, text, speaker in rows))
    assert [(u.text, u.speaker) for u in recordings.utterances] == [(text, speaker) for _, text, speaker in rows]
    assert recordings.num_speakers == 2


def test_quotes_are_part_of_a_text_without_a_header_and_undone_with_one(read):
    assert [u.text for u in read('wavs/a.wav|"Hi," she said\n').utterances] == ['"Hi," she said']
    assert [u.text for u in read('audio_file|text\na|"Hi, ""you"""\nb|"Hi," she said\n').utterances] == [
        'Hi, "you"',
        '"Hi," she said',
    ]


def test_a_row_of_another_shape_is_excluded(read):
    recordings = read("wavs/a.wav|Hi there.|anna\nwavs/b.wav\nwavs/c.wav|x|y|z\nwavs/d.wav|Hello you.|anna\n")
    assert [u.id for u in recordings.utterances] == ["wavs/a", "wavs/d"]
    assert [e.reason for e in recordings.exclusions] == [
        "the row has 1 columns and should be path|text or path|text|speaker",
        "the row has 4 columns and should be path|text or path|text|speaker",
    ]
