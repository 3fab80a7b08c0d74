"""Which format a folder or file is taken for, said aloud, forced, or refused with the way out."""

import json

import pytest

from calm_ft.data.sources import FORMATS, read_recordings
from calm_ft.errors import UserError

OURS = json.dumps({"path": "wavs/a.wav", "text": "from our manifest"})
OFFICIAL = json.dumps({"path": "wavs/a.wav", "duration": 1.0, "transcript": "from the official one"})
NEMO = json.dumps({"audio_filepath": "wavs/a.wav", "duration": 1.0, "text": "from NeMo"})


@pytest.fixture
def folder(tmp_path, write_clip):
    """Writes the given files beside wavs/a.wav and wavs/b.wav."""

    def write(files):
        for name in ("a", "b"):
            write_clip(f"set/wavs/{name}.wav")
        for name, content in files.items():
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tmp_path / "set"

    return write


RECOGNISED = [
    ({"wavs/a.txt": "hi"}, "pairs", "audio-text pairs, 2 clips"),
    ({"wavs/a.txt": "hi", "notes.txt": "some words | of mine\n"}, "pairs", "audio-text pairs, 3 clips"),
    ({"metadata.csv": "a|hi\nb|there\n"}, "ljspeech", "LJSpeech metadata.csv, 2 rows"),
    ({"metadata.csv": "a|In 14|In fourteen\nb|Mr. X|Mister X\n"}, "ljspeech", "LJSpeech metadata.csv, 2 rows"),
    ({"metadata.csv": "a|hi|\nb|there|\n"}, "ljspeech", "LJSpeech metadata.csv, 2 rows"),
    ({"train.txt": "wavs/a.wav|hi\n"}, "pipe_csv", "columns between bars in train.txt, 1 row"),
    ({"metadata.csv": "wavs/a.wav|hi there|anna\nwavs/b.wav|you|anna\n"}, "pipe_csv", "columns between bars"),
    ({"train.txt": "wavs/a.wav|7|hi there\nwavs/b.wav|8|to you too\n"}, "pipe_csv", "columns between bars"),
    ({"metadata.csv": "audio_file|text\nwavs/a.wav|hi\n"}, "pipe_csv", "columns between bars in metadata.csv, 1 row"),
    ({"metadata.csv": "audio_file|text|speaker_name\na|hi|x\n"}, "pipe_csv", "columns between bars"),
    ({"metadata.csv": "file_name,transcription\nwavs/a.wav,hi\n"}, "audiofolder", "HF audiofolder metadata.csv, 1 row"),
    ({"metadata.jsonl": '{"file_name": "wavs/a.wav", "text": "hi"}'}, "audiofolder", "HF audiofolder metadata.jsonl"),
    ({"wavs/metadata.csv": "file_name,text\na.wav,hi\n"}, "audiofolder", "HF audiofolder wavs/metadata.csv, 1 row"),
    ({"metadata.csv": "path,text\nwavs/a.wav,hi\n"}, "csv", "CSV metadata.csv, 1 row"),
    ({"metadata.csv": "a||hi\nb||there\n"}, "ljspeech", "LJSpeech metadata.csv, 2 rows"),
    ({"metadata.csv": "a|In 14|In fourteen|1.5\nb|Mr. X|Mister X|2.25\n"}, "ljspeech", "LJSpeech metadata.csv"),
    ({"all.list": "wavs/a.wav|anna|EN|hi there\nwavs/b.wav|ben|EN|so long\n"}, "pipe_csv", "columns between bars"),
    ({"all.txt": "wavs/a.wav|hi there|1.52\nwavs/b.wav|so long|2.07\n"}, "pipe_csv", "columns between bars"),
    ({"all.tsv": "wavs/a.wav\thi there\nwavs/b.wav\tso long\n"}, "tsv", "columns between tabs in all.tsv, 2 rows"),
    ({"all.txt": "a\thi there\nb\tso long\n"}, "tsv", "columns between tabs in all.txt, 2 rows"),
    ({"train.csv": "path,text\na,hi\n", "eval.csv": "path,text\nb,so\n"}, "csv", "CSV eval.csv, train.csv, 2 rows"),
    ({"x_train.txt": "wavs/a.wav|hi\n", "x_val.txt": "wavs/b.wav|so\n"}, "pipe_csv", "columns between bars in x_train"),
    ({"wav.scp": "u1 wavs/a.wav\n", "text": "u1 hi there\n"}, "kaldi", "Kaldi set, 1 row"),
    ({"wavs/1-2.trans.txt": "a HI THERE\n"}, "librispeech", "LibriSpeech set, 1 row"),
    ({"mine.csv": "speaker;file;text\nx;wavs/a.wav;hi\n"}, "csv", "CSV mine.csv, 1 row"),
    ({"train.tsv": "client_id\tpath\tsentence\nx\twavs/a.wav\thi\n"}, "csv", "TSV train.tsv, 1 row"),
    ({"train.jsonl": NEMO}, "jsonl", "JSON lines train.jsonl, 1 row"),
    ({"manifest.jsonl": OURS}, "manifest", "our manifest manifest.jsonl, 1 row"),
    ({"manifest.jsonl": OFFICIAL}, "official_manifest", "official manifest manifest.jsonl, 1 row"),
    ({"train.jsonl": OFFICIAL, "readme.txt": "hello"}, "official_manifest", "official manifest train.jsonl, 1 row"),
    ({"manifest.jsonl": OURS, "metadata.csv": "a|hi\n", "wavs/a.txt": "hi"}, "manifest", "our manifest"),
    ({"metadata.csv": "a|hi\n", "wavs/a.txt": "hi"}, "ljspeech", "LJSpeech"),
]


@pytest.mark.parametrize(("files", "format", "said"), RECOGNISED)
def test_a_folder_is_recognised_by_what_its_files_hold(folder, files, format, said):
    recordings = read_recordings(folder(files))
    assert recordings.format == format
    assert recordings.format_name.startswith(said)
    assert {u.audio_path.name for u in recordings.utterances} >= {"a.wav"}
    forced = read_recordings(folder(files), format=format)
    assert (forced.utterances, forced.exclusions) == (recordings.utterances, recordings.exclusions)


@pytest.mark.parametrize("name", ["anything.csv", "anything.txt", "anything"])
def test_a_table_given_by_itself_is_recognised_under_any_name(folder, name):
    path = folder({name: "path,text\nwavs/a.wav,hi\n"}) / name
    assert read_recordings(path).format == "csv"


def test_every_format_appears_in_the_table_above():
    in_binary = {"hf_dataset"}  # test_hugging_face.py
    assert {format for _, format, _ in RECOGNISED} | in_binary == set(FORMATS)


@pytest.mark.parametrize(
    "files",
    [
        {"mine.csv": "path,text\nwavs/a.wav,hi\n", "yours.csv": "path,text\nwavs/b.wav,hi\n"},
        {"metadata.csv": "path,text\nwavs/a.wav,hi\n", "metadata.jsonl": '{"file_name": "wavs/a.wav", "text": "hi"}'},
        {"train.csv": "path,text\nwavs/a.wav,hi\n", "wavs/a.txt": "hi"},
    ],
)
def test_a_folder_that_can_be_read_in_two_ways_is_refused_with_the_way_out(folder, files):
    with pytest.raises(UserError, match=r"more than one way, by .*give the one file as data.path, or choose .*pairs, "):
        read_recordings(folder(files))


def test_a_third_column_that_could_be_text_or_speaker_is_not_guessed(folder):
    path = folder({"metadata.csv": "a|Hello.|Big John\nb|Goodbye.|Little Ann\n"})
    with pytest.raises(UserError, match=r"no format that can be told, found 'a\|Hello.\|Big John'"):
        read_recordings(path)
    assert [u.text for u in read_recordings(path, format="ljspeech").utterances] == ["Big John", "Little Ann"]
    by_speaker = read_recordings(path, format="pipe_csv").utterances
    assert [(u.text, u.speaker) for u in by_speaker] == [("Hello.", "Big John"), ("Goodbye.", "Little Ann")]


def test_an_unknown_format_is_answered_with_the_names(folder):
    with pytest.raises(UserError, match=r"data.format=lj is unknown; it is one of pairs, .*, or null to recognise"):
        read_recordings(folder({"metadata.csv": "a|hi\n"}), format="lj")


@pytest.mark.parametrize(
    ("format", "files", "message"),
    [
        ("pairs", {"metadata.csv": "a|hi\n"}, "2 audio files but no text"),
        ("ljspeech", {"metadata.csv": "path,text\na,hi\n"}, r"expected rows id\|text .*, found 'path,text'"),
        ("ljspeech", {"metadata.csv": "path|text\na|hi\n"}, r"without a header, found 'path\|text'"),
        ("pipe_csv", {"metadata.csv": "path,text\na,hi\n"}, r"expected rows path\|text .*, found 'path,text'"),
        ("audiofolder", {"metadata.csv": "path,text\na,hi\n"}, "expected a metadata.csv .* with file_name"),
        ("csv", {"metadata.csv": "a|hi\n"}, r"expected a header .*, found 'a\|hi'"),
        ("csv", {"wavs/a.txt": "hi"}, "holds no .csv or .tsv"),
        ("jsonl", {"train.jsonl": '{"x": 1}'}, r"expected one object a line .*, found '\{\"x\": 1\}'"),
        ("manifest", {"manifest.jsonl": "path,text"}, r"expected one object \{path, text\} a line, found 'path,text'"),
        ("official_manifest", {"manifest.jsonl": OURS}, r"expected one object \{path, duration, transcript\} a line"),
    ],
)
def test_a_forced_format_that_does_not_fit_says_what_was_expected_and_found(folder, format, files, message):
    with pytest.raises(UserError, match=message) as error:
        read_recordings(folder(files), format=format)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"\xef\xbb\xbf\r\n", "found an empty file"),
        (b"path,t\xe9xt\x81\na,hi\n", "not UTF-8 text; save it as UTF-8"),
        (b"path,text\r\n", "lists no clip: CSV metadata.csv, 0 rows; add one row"),
        (b"name,words\na,hi\n", "found 'name,words'"),
    ],
)
def test_a_table_without_rows_or_columns_is_refused(folder, content, message):
    path = folder({}) / "metadata.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_recordings(path.parent)


def test_an_audio_file_is_no_table(folder):
    with pytest.raises(UserError, match=r"a.wav is a file; give the folder"):
        read_recordings(folder({}) / "wavs/a.wav")
