"""Who speaks: by column, by folder, or one throughout."""

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError


def speakers(recordings):
    return [utterance.speaker for utterance in recordings.utterances]


@pytest.fixture
def pairs(tmp_path, write_clip):
    for name in ("anna/1", "anna/late/2", "ben/1", "loose"):
        write_clip(f"{name}.wav", text="hello")
    return tmp_path


@pytest.fixture
def table(tmp_path, write_clip):
    for name in ("anna/1", "ben/1", "ben/2"):
        write_clip(f"wavs/{name}.wav")
    content = "path,text,speaker\nwavs/anna/1.wav,hi,A\nwavs/ben/1.wav,hi,\nwavs/ben/2.wav,hi,B\n"
    (tmp_path / "metadata.csv").write_text(content)
    return tmp_path


@pytest.mark.parametrize("mode", ["auto", None])
def test_pairs_in_folders_are_by_default_spoken_by_whom_the_folder_names(pairs, mode):
    recordings = read_recordings(pairs, speakers=mode)
    assert speakers(recordings) == ["anna", "anna", "ben", "speaker"]
    assert recordings.num_speakers == 3


def test_pairs_can_be_one_speaker_whatever_their_folders(pairs):
    assert set(speakers(read_recordings(pairs, speakers="one"))) == {"speaker"}


def test_folders_that_only_hold_audio_or_a_split_name_nobody(tmp_path, write_clip):
    for name in ("wavs/1", "train/anna/wavs/1", "Audio/2"):
        write_clip(f"{name}.wav", text="hello")
    assert speakers(read_recordings(tmp_path)) == ["speaker", "anna", "speaker"]


def test_a_column_goes_before_folders_and_a_row_without_a_name_is_the_unnamed_speaker(table):
    assert speakers(read_recordings(table)) == ["A", "speaker", "B"]


def test_by_column_a_row_without_a_name_is_excluded(table):
    recordings = read_recordings(table, speakers="column")
    assert speakers(recordings) == ["A", "B"]
    assert [(e.path, e.reason) for e in recordings.exclusions] == [
        (f"{table}/metadata.csv:3", "the row names no speaker")
    ]


def test_by_folder_a_column_is_not_looked_at(table):
    assert speakers(read_recordings(table, speakers="folder")) == ["anna", "ben", "ben"]


def test_a_table_without_a_column_is_one_speaker_even_with_folders(table):
    (table / "metadata.csv").write_text("path,text\nwavs/anna/1.wav,hi\nwavs/ben/1.wav,hi\n")
    assert speakers(read_recordings(table)) == ["speaker"] * 2


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("column", "data.speakers=column, but no row of LJSpeech metadata.csv names a speaker"),
        ("folder", "data.speakers=folder, but no clip lies in a folder of its own"),
        ("voice", "data.speakers=voice is unknown; it is one of auto, column, folder, one, or null for auto"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(tmp_path, write_clip, mode, message):
    write_clip("wavs/a.wav")
    (tmp_path / "metadata.csv").write_text("a|hello\n")
    with pytest.raises(UserError, match=message):
        read_recordings(tmp_path, speakers=mode)
