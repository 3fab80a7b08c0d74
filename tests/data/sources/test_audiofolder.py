"""HF audiofolder: metadata as CSV or JSON lines, in one folder or in each split."""

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError


@pytest.mark.parametrize("column", ["transcription", "text", "sentence", "transcript"])
def test_metadata_csv_names_files_from_its_own_folder(tmp_path, write_clip, column):
    path = write_clip("data/a.flac")
    (tmp_path / "metadata.csv").write_text(f'file_name,{column},other\ndata/a.flac,"Well, hello",1\n')
    recordings = read_recordings(tmp_path)
    assert [(u.id, u.audio_path, u.text) for u in recordings.utterances] == [("data/a", path, "Well, hello")]
    assert recordings.format_name == "HF audiofolder metadata.csv, 1 row"


def test_the_metadata_of_every_split_is_read(tmp_path, write_clip):
    for split in ("train", "test"):
        write_clip(f"data/{split}/audio/1.wav")
    (tmp_path / "data/train/metadata.csv").write_text("file_name,transcription\naudio/1.wav,in train\n")
    row = '{"file_name": "audio/1.wav", "transcription": "in test", "speaker_id": 4}\n'
    (tmp_path / "data/test/metadata.jsonl").write_text(row)
    recordings = read_recordings(tmp_path)
    assert [(u.id, u.text, u.speaker) for u in recordings.utterances] == [
        ("data/test/audio/1", "in test", "4"),
        ("data/train/audio/1", "in train", "speaker"),
    ]
    assert recordings.format_name == "HF audiofolder data/test/metadata.jsonl, data/train/metadata.csv, 2 rows"
    assert [u.text for u in read_recordings(tmp_path / "data/train").utterances] == ["in train"]


def test_faulty_rows_are_named_with_the_split_that_lists_them(tmp_path, write_clip):
    write_clip("train/1.wav")
    (tmp_path / "train/metadata.csv").write_text("file_name,text\n1.wav,good\n2.wav,gone\n")
    recordings = read_recordings(tmp_path)
    assert [e.path for e in recordings.exclusions] == [f"{tmp_path}/train/metadata.csv:3"]


def test_a_folder_without_metadata_cannot_be_read_as_one(tmp_path, write_clip):
    write_clip("1.wav", text="hello")
    with pytest.raises(UserError, match=r"expected a metadata.csv or metadata.jsonl with file_name .*, found none"):
        read_recordings(tmp_path, format="audiofolder")
