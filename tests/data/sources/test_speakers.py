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
    for name in ("wavs/1", "train-clean-100/anna/wavs/1", "wav48/ben/3", "Audio/2"):
        write_clip(f"{name}.wav", text="hello")
    recordings = read_recordings(tmp_path)
    assert {u.id: u.speaker for u in recordings.utterances} == {
        "Audio/2": "speaker",
        "train-clean-100/anna/wavs/1": "anna",
        "wav48/ben/3": "ben",
        "wavs/1": "speaker",
    }
    assert recordings.notes == ["the folders anna, ben are taken for speakers; data.speakers=one if it is one voice"]


@pytest.mark.parametrize(
    "folders",
    [
        *(["session1", "session2"], ["Session 1", "session 2"], ["2023-05-01", "2023-05-17 evening"], ["1", "2", "03"]),
        *(["Kapitel 1", "Kapitel 2"], ["s\u00e9ance1", "se\u0301ance 2"], ["CD1", "CD2"], ["chapter_01a", "extra"]),
        ["more clips", ""],
    ],
)
def test_sessions_dates_and_one_folder_beside_loose_clips_are_no_speakers_and_it_is_said(tmp_path, write_clip, folders):
    for index, folder in enumerate(folders):
        write_clip(f"{folder}/{index}.wav" if folder else f"{index}.wav", text="hello")
    recordings = read_recordings(tmp_path)
    assert set(speakers(recordings)) == {"speaker"}
    (note,) = recordings.notes
    assert "all clips are taken for one speaker" in note
    assert f"{max(folders)}" in note
    by_folder = read_recordings(tmp_path, speakers="folder")
    assert len(set(speakers(by_folder))) == len(folders)


def test_sessions_above_or_below_a_speaker_are_passed_over(tmp_path, write_clip):
    for name in ("anna/session1/1", "session 2/anna/2", "2023-01-01/ben/3"):
        write_clip(f"{name}.wav", text="hello")
    assert {u.id: u.speaker for u in read_recordings(tmp_path).utterances} == {
        "2023-01-01/ben/3": "ben",
        "anna/session1/1": "anna",
        "session 2/anna/2": "anna",
    }


def test_numbers_that_begin_the_names_of_their_clips_are_speakers(tmp_path, write_clip):
    for speaker in ("84", "19", "1272"):
        write_clip(f"{speaker}/121123/{speaker}_121123_000001.wav", text="hello")
    assert speakers(read_recordings(tmp_path)) == ["1272", "19", "84"]


def test_a_column_with_another_name_in_every_row_is_doubted_aloud(tmp_path, write_clip):
    rows = [f"{n}.wav,hello {n},take{n}\n" for n in range(10)]
    for n in range(10):
        write_clip(f"{n}.wav")
    (tmp_path / "metadata.csv").write_text("path,text,speaker\n" + "".join(rows))
    recordings = read_recordings(tmp_path)
    assert recordings.num_speakers == 10
    assert "names another speaker for every clip, such as take0, take1, take2 and 7 more" in recordings.notes[0]


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
