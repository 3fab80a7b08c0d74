"""Folders of audio beside text files, and audiofolders: what is read, what is left out, and what stops the run."""

import os

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError


def reasons(recordings, folder):
    return {exclusion.path.removeprefix(f"{folder}/"): exclusion.reason for exclusion in recordings.exclusions}


def test_pairs_are_found_at_any_depth_sorted_with_posix_ids(tmp_path, write_clip):
    write_clip("b.wav", text="second")
    write_clip("a/deep/x.flac", text="first")
    recordings = read_recordings(tmp_path)
    assert [(u.id, u.text, u.speaker) for u in recordings.utterances] == [
        ("a/deep/x", "first", "a"),
        ("b", "second", "speaker"),
    ]
    assert recordings.format_name == "audio-text pairs, 2 clips"
    assert recordings.exclusions == []


@pytest.mark.parametrize("name", ["a.WAV", "a.Flac", "a.MP3", "a.ogg", "a.aiff", "a.AIF", "a.oga"])
def test_audio_suffixes_count_in_any_case(tmp_path, write_clip, name):
    write_clip("a.wav").rename(tmp_path / name)
    (tmp_path / "a.TXT").write_text("hello")
    assert [u.id for u in read_recordings(tmp_path).utterances] == ["a"]


def test_each_bad_clip_is_excluded_with_its_own_reason_and_the_good_one_stays(tmp_path, write_clip):
    write_clip("good.wav", text="good")
    write_clip("no_text.wav")
    write_clip("empty.wav", text=" \n")
    write_clip("dots.wav", text="...")
    write_clip("latin1.wav")
    (tmp_path / "latin1.txt").write_bytes("caf\xe9".encode("latin-1"))
    write_clip("utf16.wav")
    (tmp_path / "utf16.txt").write_bytes("hello".encode("utf-16-le"))
    (tmp_path / "orphan.txt").write_text("nobody says this")
    (tmp_path / "phone.m4a").write_bytes(b"m4a")
    (tmp_path / "phone.txt").write_text("said into a phone")
    recordings = read_recordings(tmp_path)
    assert [u.id for u in recordings.utterances] == ["good"]
    assert reasons(recordings, tmp_path) == {
        "no_text.wav": "there is no .txt file of this name beside the audio",
        "empty.wav": "the text is empty",
        "dots.wav": "the text holds no word",
        "latin1.wav": "the text is not UTF-8",
        "utf16.wav": "the text is not UTF-8",
        "orphan.txt": "there is no audio file of this name beside the text",
        "phone.m4a": f".m4a audio cannot be read; convert it: ffmpeg -i {tmp_path}/phone.m4a {tmp_path}/phone.wav",
    }


def test_two_recordings_of_one_name_give_one_clip_and_one_exclusion(tmp_path, write_clip):
    write_clip("a.wav", text="hello")
    write_clip("a.flac")
    recordings = read_recordings(tmp_path)
    assert [u.audio_path.name for u in recordings.utterances] == ["a.flac"]
    assert "given before, as a.flac" in reasons(recordings, tmp_path)["a.wav"]


def test_byte_order_mark_and_line_breaks_are_not_part_of_the_text(tmp_path, write_clip):
    write_clip("a.wav")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfOne line,\r\n  and another.\n")
    assert read_recordings(tmp_path).utterances[0].text == "One line, and another."


def test_a_linked_folder_is_read_and_a_loop_of_links_ends(tmp_path, write_clip):
    write_clip("elsewhere/b.wav", text="linked")
    write_clip("set/a.wav", text="own")
    for link, target in {"linked": "elsewhere", "again": "elsewhere", "loop": "set", "above": "."}.items():
        (tmp_path / "set" / link).symlink_to(tmp_path / target, target_is_directory=True)
    (tmp_path / "set/self").symlink_to(tmp_path / "set/self")
    recordings = read_recordings(tmp_path / "set")
    assert [u.id for u in recordings.utterances] == ["a", "again/b"]
    assert recordings.exclusions == []


def test_hidden_files_do_not_exist(tmp_path, write_clip):
    write_clip("a.wav", text="hello")
    for name in ("._a.wav", "._a.txt", ".cache/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"junk")
    recordings = read_recordings(tmp_path)
    assert [u.id for u in recordings.utterances] == ["a"]
    assert recordings.exclusions == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, r"There is no folder .*set; give the folder"),
        ([], "is empty; put recordings there"),
        (["a.txt"], "holds no audio; recordings must be wav, flac, "),
        (["a.wav", "b.wav"], "holds 2 audio files but no text; put what is said"),
        (["a.webm"], r"no audio that can be read, only a.webm; convert it to wav: ffmpeg -i {set}/a.webm {set}/a.wav$"),
        (
            ["my voice/1.m4a", "my voice/1.txt", "my voice/2.m4a", "my voice/3.m4a", "my voice/4.m4a"],
            r"only my voice/1.m4a, my voice/2.m4a, my voice/3.m4a and 1 more; convert it to wav: "
            r"""for f in '{set}/my voice'/\*.m4a; do ffmpeg -i "\$f" "\$\{{f%.\*\}}.wav"; done$""",
        ),
    ],
)
def test_a_folder_without_audio_or_text_is_refused_with_the_way_out(tmp_path, write_clip, files, message):
    folder = tmp_path / "set"
    for name in files or []:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(f"set/{name}") if name.endswith(".wav") else (folder / name).write_bytes(b"hello")
    if files == []:
        folder.mkdir()
    with pytest.raises(UserError, match=message.format(set=folder)):
        read_recordings(folder)


def test_a_file_instead_of_a_folder_is_refused(write_clip):
    with pytest.raises(UserError, match="is a file; give the folder"):
        read_recordings(write_clip("a.wav", text="hello"))


def test_file_names_that_are_not_utf8_are_read_and_reported_in_valid_unicode(tmp_path, write_clip):
    for name in (b"good\xff", b"mute\xfe"):
        os.rename(write_clip("a.wav", text="hello"), os.fsencode(tmp_path) + b"/" + name + b".wav")
        os.rename(tmp_path / "a.txt", os.fsencode(tmp_path) + b"/" + name + b".txt")
    os.remove(os.fsencode(tmp_path) + b"/mute\xfe.txt")
    recordings = read_recordings(tmp_path)
    (utterance,) = recordings.utterances
    assert (utterance.id, utterance.audio_path.exists()) == (r"good\udcff", True)
    assert [e.path for e in recordings.exclusions] == [rf"{tmp_path}/mute\udcfe.wav"]


def test_audio_whose_metadata_lies_a_folder_deeper_is_pointed_there(tmp_path, write_clip):
    write_clip("LJ/wavs/a.wav")
    (tmp_path / "LJ/metadata.csv").write_text("a|hello\n")
    with pytest.raises(UserError, match=f"point at {tmp_path}/LJ instead"):
        read_recordings(tmp_path)


def test_when_no_clip_is_good_the_commonest_reason_is_said(tmp_path, write_clip):
    write_clip("a.wav", text="")
    write_clip("b.wav", text="")
    write_clip("c.wav")
    with pytest.raises(UserError, match="3 left out, most often because the text is empty"):
        read_recordings(tmp_path)


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


def test_faulty_rows_of_an_audiofolder_are_named_with_the_split_that_lists_them(tmp_path, write_clip):
    write_clip("train/1.wav")
    (tmp_path / "train/metadata.csv").write_text("file_name,text\n1.wav,good\n2.wav,gone\n")
    recordings = read_recordings(tmp_path)
    assert [e.path for e in recordings.exclusions] == [f"{tmp_path}/train/metadata.csv:3"]


def test_a_folder_without_metadata_cannot_be_read_as_one(tmp_path, write_clip):
    write_clip("1.wav", text="hello")
    with pytest.raises(UserError, match=r"expected a metadata.csv or metadata.jsonl with file_name .*, found none"):
        read_recordings(tmp_path, format="audiofolder")
