"""The project's own manifest: what is written is read again, and rows that are wrong."""

import json

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.data.sources import write_manifest
from calm_ft.data.utterance import Utterance, WordTime
from calm_ft.errors import UserError


def test_what_is_written_is_read_again(tmp_path, write_clip):
    words = (WordTime("h\u00e9llo", 0.1, 0.4), WordTime("there", 0.4, 0.9))
    utterances = [
        Utterance("sub/a", write_clip("set/sub/a.wav"), "h\u00e9llo there", "anna", words),
        Utterance("b", write_clip("set/b.flac"), 'with "quotes"', "ben"),
        Utterance("long@1.250", write_clip("set/long.wav"), "a segment", "ben", start_sec=1.25, end_sec=2.5),
        Utterance("long@2.500", tmp_path / "set/long.wav", "the rest", "ben", start_sec=2.5),
    ]
    write_manifest(tmp_path / "set/manifest.jsonl", utterances)
    recordings = read_recordings(tmp_path / "set")
    assert recordings.utterances == utterances
    assert recordings.format_name == "our manifest manifest.jsonl, 4 rows"
    assert read_recordings(tmp_path / "set/manifest.jsonl").utterances == utterances


def test_a_manifest_moves_with_its_folder(tmp_path, write_clip):
    write_manifest(tmp_path / "set/manifest.jsonl", [Utterance("a", write_clip("set/a.wav"), "hello")])
    (tmp_path / "set").rename(tmp_path / "moved")
    assert read_recordings(tmp_path / "moved").utterances[0].audio_path == tmp_path / "moved/a.wav"


def test_audio_elsewhere_is_found_by_its_absolute_path(tmp_path, write_clip):
    path = write_clip("elsewhere/a.wav")
    (tmp_path / "set").mkdir()
    write_manifest(tmp_path / "set/manifest.jsonl", [Utterance("a", path, "hello")])
    assert read_recordings(tmp_path / "set").utterances[0].audio_path == path


def test_writing_leaves_no_other_file_behind_and_replaces_the_old_manifest(tmp_path, write_clip):
    path = write_clip("a.wav")
    for text in ("old", "new"):
        write_manifest(tmp_path / "manifest.jsonl", [Utterance("a", path, text)])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.wav", "manifest.jsonl"]
    assert read_recordings(tmp_path).utterances[0].text == "new"


def words_row(*times):
    words = [{"word": "w", "start_sec": start, "end_sec": end} for start, end in times]
    return json.dumps({"path": "a.wav", "text": "hello", "words": words})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "the row is not JSON"),
        ("[1]", "the row should be an object with an audio file and a text"),
        ('{"path": "a.wav"}', "the row should be an object with a path and a text"),
        ('{"path": "a.wav", "text": 3}', "the row should be an object whose 'text' is a string"),
        ('{"path": "a.wav", "text": "hello", "start_sec": "x"}', "start_sec should be a time in seconds, not 'x'"),
        ('{"path": "a.wav", "text": "hello", "end_sec": -1}', "end_sec should be a time in seconds, not -1"),
        ('{"path": "a.wav", "text": " "}', "the text is empty"),
        ('{"path": "gone.wav", "text": "hello"}', "there is no audio file 'gone.wav'"),
        ('{"path": "a.m4a", "text": "hello"}', "'a.m4a' is not an audio file that can be read"),
        ('{"path": "good.wav", "text": "again"}', "the clip 'good' was given before, as good.wav"),
        ('{"path": "a.wav", "text": "hello", "words": [{}]}', "words should be a list of"),
        ('{"path": "a.wav", "text": "hello", "words": 7}', "words should be a list of"),
        (words_row((0.5, 0.2)), "the word times do not follow each other"),
        (words_row((0.5, 0.7), (0.1, 0.2)), "the word times do not follow each other"),
        (words_row((-1, 0.7)), "the word times do not follow each other"),
        (words_row((0, float("nan"))), "the word times do not follow each other"),
    ],
)
def test_a_bad_row_is_excluded_with_its_line_number(tmp_path, write_clip, row, reason):
    write_clip("good.wav")
    write_clip("a.wav")
    (tmp_path / "manifest.jsonl").write_text('{"path": "good.wav", "text": "good"}\n\n' + row + "\n")
    recordings = read_recordings(tmp_path)
    assert [u.id for u in recordings.utterances] == ["good"]
    assert [e.path for e in recordings.exclusions] == [f"{tmp_path}/manifest.jsonl:3"]
    assert recordings.exclusions[0].reason.startswith(reason)


def test_a_manifest_goes_before_other_formats(tmp_path, write_clip):
    write_clip("a.wav", text="from the text file")
    (tmp_path / "metadata.csv").write_text("a|from the table\n")
    assert read_recordings(tmp_path).utterances[0].text == "from the table"
    (tmp_path / "manifest.jsonl").write_text('{"path": "a.wav", "text": "from the manifest"}\n')
    assert read_recordings(tmp_path).utterances[0].text == "from the manifest"


def test_a_byte_order_mark_before_the_first_row_is_no_part_of_it(tmp_path, write_clip):
    write_clip("a.wav")
    (tmp_path / "manifest.jsonl").write_text('{"path": "a.wav", "text": "hello"}', encoding="utf-8-sig")
    assert read_recordings(tmp_path).utterances[0].text == "hello"


def test_an_empty_manifest_is_refused(tmp_path):
    (tmp_path / "manifest.jsonl").write_text("\n")
    with pytest.raises(UserError, match="found an empty file"):
        read_recordings(tmp_path)
