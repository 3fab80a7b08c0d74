"""JSON lines with the usual column names."""

import json

import pytest

from calm_ft.data.sources import read_recordings


def write_rows(path, *rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"audio": "a.wav", "sentence": "hi", "speaker": "x"}, ("a", "hi", "x", 0.0, None)),
        ({"file": "a", "transcript": "hi", "speaker_id": 0}, ("a", "hi", "0", 0.0, None)),
        ({"audio_filepath": "a.wav", "text": "hi", "duration": 1.0}, ("a", "hi", "speaker", 0.0, None)),
        (
            {"audio_filepath": "a.wav", "text": "hi", "duration": 0.5, "offset": 0.25},
            ("a@0.250", "hi", "speaker", 0.25, 0.75),
        ),
    ],
)
def test_keys_go_by_the_names_that_datasets_give_them(tmp_path, write_clip, row, expected):
    write_clip("a.wav")
    write_rows(tmp_path / "train.jsonl", row)
    (u,) = read_recordings(tmp_path).utterances
    assert (u.id, u.text, u.speaker, u.start_sec, u.end_sec) == expected


def test_faulty_rows_are_excluded_with_their_lines(tmp_path, write_clip):
    write_clip("a.wav")
    write_rows(
        tmp_path / "train.jsonl",
        *({"audio": "a.wav", "sentence": "good"}, "", "{", "[]", {"audio": "a.wav"}, {"audio": 3, "sentence": "x"}),
        *({"audio": "b.wav", "sentence": "x"}, {"audio": "a.wav", "sentence": "again"}, "[" * 100_000),
    )
    recordings = read_recordings(tmp_path)
    assert [u.text for u in recordings.utterances] == ["good"]
    assert [(e.path.rpartition(":")[2], e.reason) for e in recordings.exclusions] == [
        ("3", "the row is not JSON"),
        ("4", "the row should be an object with an audio file and a text"),
        ("5", "the row should be an object with an audio file and a text"),
        ("6", "the row should be an object whose 'audio' is a string"),
        ("7", "there is no audio file 'b.wav'"),
        ("8", "the clip 'a' was given before, as a.wav"),
        ("9", "the row is not JSON"),
    ]
