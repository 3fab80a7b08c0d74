"""Lists of JSON objects: by usual names, our manifest, and the official one with segments and aligned words."""

import json

import numpy as np
import pytest
import torch

from calm_ft.adapters.pocket_tts.prompt_cut import PromptLength, cut_at_word
from calm_ft.data.audio import load_clip
from calm_ft.data.sources import read_recordings, write_manifest
from calm_ft.data.utterance import Utterance, WordTime
from calm_ft.errors import UserError


def write_rows(path, *rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def test_what_is_written_is_read_again(tmp_path, write_clip):
    words = (WordTime("h\u00e9llo", 0.1, 0.4), WordTime("there", 0.4, 0.9))
    utterances = [
        Utterance("sub/a", write_clip("set/sub/a.wav"), "h\u00e9llo there", "anna", words),
        Utterance("b", write_clip("set/b.flac"), 'with "quotes"', "ben"),
        Utterance("long@1.250", write_clip("set/long.wav"), "a segment", "ben", start_sec=1.25, end_sec=2.5),
        Utterance("long@2.500", tmp_path / "set/long.wav", "the rest", "ben", start_sec=2.5, language="de"),
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
        (r'{"path": "a.wav", "text": "half \ud800 a pair"}', "the text is not valid Unicode"),
        ('{"path": "a.wav", "text": "hello", "start_sec": ' + "9" * 5000 + "}", "the row is not JSON"),
        ('{"path": "gone.wav", "text": "hello"}', "there is no audio file 'gone.wav'"),
        ('{"path": "b.m4a", "text": "hello"}', "there is no audio file 'b.m4a'"),
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


def test_faulty_rows_of_a_list_are_excluded_with_their_lines(tmp_path, write_clip):
    write_clip("a.wav")
    write_rows(
        tmp_path / "train.jsonl",
        *({"audio": "a.wav", "sentence": "good"}, "", "{", "[]", {"audio": "a.wav"}, {"audio": 3, "sentence": "x"}),
        *({"audio": "b.wav", "sentence": "x"}, {"audio": "a.wav", "sentence": "again"}, "[" * 100_000),
    )
    recordings = read_recordings(tmp_path)
    assert [u.text for u in recordings.utterances] == ["good"]
    assert [(e.path.rpartition(":")[2], e.reason) for e in recordings.exclusions] == [
        ("3", "the row is not JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("4", "the row should be an object with an audio file and a text"),
        ("5", "the row should be an object with an audio file and a text"),
        ("6", "the row should be an object whose 'audio' is a string"),
        ("7", "there is no audio file 'b.wav'"),
        ("8", "the clip 'a' was given before, as a.wav"),
        ("9", "the row is not JSON"),
    ]


def word(text, start=None, end=None):
    return {"word": text, "start": start, "end": end}


@pytest.fixture
def read(tmp_path):
    def read_rows(*rows):
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_recordings(tmp_path / "train.jsonl")

    return read_rows


def test_rows_become_segments_with_their_own_words_and_sound(read, write_clip, make_tone):
    path = write_clip(
        "chapter.wav", np.concatenate([make_tone(2.0, frequency_hz=300), make_tone(2.0, frequency_hz=900)])
    )
    first = [word("One", 0.1, 0.6), word("two", 0.7, 1.2)]
    second = [word("three", 0.2, 0.8), word("four", 1.0, 1.5)]
    common = {"path": str(path), "duration": 1.8, "speaker": 92}
    recordings = read(
        {**common, "transcript": "One two", "words": first},
        {**common, "start": 2.1, "transcript": "three four", "words": second, "audio_filepath": "92/x.flac"},
    )
    assert recordings.format_name == "official manifest train.jsonl, 2 rows"
    one, two = recordings.utterances
    assert (one.id, one.start_sec, one.end_sec, one.speaker) == ("chapter", 0.0, 1.8, "92")
    assert (two.id, two.start_sec, two.end_sec) == ("chapter@2.100", 2.1, pytest.approx(3.9))
    assert one.words == (WordTime("One", 0.1, 0.6), WordTime("two", 0.7, 1.2))
    assert two.words == (WordTime("three", 0.2, 0.8), WordTime("four", 1.0, 1.5))
    for utterance, frequency_hz in ((one, 300), (two, 900)):
        samples = load_clip(utterance, 24000, 0.0).samples.numpy()
        assert len(samples) == 1.8 * 24000
        assert np.abs(np.fft.rfft(samples)).argmax() / 1.8 == pytest.approx(frequency_hz, abs=1)


def test_a_prompt_is_cut_at_the_words_of_the_segment_not_of_the_file(read, write_clip, make_tone):
    path = write_clip("chapter.wav", make_tone(60.0))
    words = [word("three", 0.2, 0.8), word("four", 1.0, 1.4), word("five.", 2.4, 2.8)]
    row = {"path": str(path), "start": 40.0, "duration": 3.0, "transcript": "three four five.", "words": words}
    (utterance,) = read(row).utterances
    cut = cut_at_word(utterance, 38, PromptLength(1.5, 3.0), 12.5, torch.Generator())
    assert cut is not None
    assert (cut.num_frames, cut.text) == (round(1.9 * 12.5), "five.")


def test_a_word_without_times_is_joined_with_its_neighbours_so_that_no_cut_falls_beside_it(read, write_clip, make_tone):
    path = write_clip("a.wav", make_tone(6.0))
    words = [word("Well,"), word("in", 0.5, 0.8), word("1943"), word("he", 2.0, 2.2), word("came", 2.5, 2.9)]
    words += [word("home", 3.2, 3.6), word("\u00bb")]
    (utterance,) = read(
        {"path": str(path), "duration": 6.0, "transcript": "Well, in 1943 ...", "words": words}
    ).utterances
    assert utterance.words == (
        WordTime("Well, in 1943 he", 0.0, 2.2),
        WordTime("came", 2.5, 2.9),
        WordTime("home \u00bb", 3.2, 6.0),
    )


@pytest.mark.parametrize("words", [None, [], [word("not"), word("aligned")]])
def test_a_row_without_known_times_has_no_words(read, write_clip, words):
    path = write_clip("a.wav")
    row = {"path": str(path), "duration": 1.0, "transcript": "not aligned", "words": words}
    assert read(row).utterances[0].words is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"duration": None}, "duration should be a time in seconds, not None"),
        ({"duration": "long"}, "duration should be a time in seconds, not 'long'"),
        ({"start": -1}, "start should be a time in seconds, not -1"),
        ({"transcript": ""}, "the text is empty"),
        ({"transcript": None}, "the row should be an object whose 'transcript' is a string"),
        ({"path": "gone.wav"}, "there is no audio file 'gone.wav'"),
        ({"words": "hello"}, "words should be a list of {word, start, end}"),
        ({"words": [{"start": 0, "end": 1}]}, "words should be a list of {word, start, end}"),
        ({"words": [word("a", 0.5, 0.2)]}, "the word times do not follow each other"),
        ({"start": 0.0}, "the clip 'a' was given before, as a.wav"),
    ],
)
def test_a_faulty_row_of_the_official_manifest_is_excluded_and_the_good_one_stays(
    read, write_clip, tmp_path, change, reason
):
    row = {"path": str(write_clip("a.wav")), "duration": 1.0, "transcript": "hello"}
    recordings = read(row, {**row, "start": 0.25, **change})
    assert [u.text for u in recordings.utterances] == ["hello"]
    assert [(e.path, e.reason) for e in recordings.exclusions] == [(f"{tmp_path}/train.jsonl:2", reason)]


def test_the_split_of_a_prepared_set_is_read_and_written(tmp_path, write_clip):
    write_clip("a.wav")
    write_clip("b.wav")
    rows = [
        {"path": f"{name}.wav", "text": "hi", "split": split} for name, split in (("a", "train"), ("b", "validation"))
    ]
    write_rows(tmp_path / "manifest.jsonl", *rows)
    utterances = read_recordings(tmp_path).utterances
    assert [u.split for u in utterances] == ["train", "validation"]
    write_manifest(tmp_path / "copy/manifest.jsonl", utterances)
    assert [u.split for u in read_recordings(tmp_path / "copy").utterances] == ["train", "validation"]


def test_clips_that_a_manifest_keeps_out_are_not_remarked_on(tmp_path, write_clip):
    write_clip("clips/a.wav")
    write_clip("clips/heldout.wav")
    write_rows(tmp_path / "manifest.jsonl", {"path": "clips/a.wav", "text": "hi"})
    assert read_recordings(tmp_path).notes == []
