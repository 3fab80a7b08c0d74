"""Audio beside text files: what is read, what is left out, and what stops the run."""

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


@pytest.mark.parametrize("name", ["a.WAV", "a.Flac", "a.MP3", "a.ogg"])
def test_audio_suffixes_count_in_any_case(tmp_path, write_clip, name):
    write_clip(name)
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


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"There is no folder .*nowhere"):
        read_recordings(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder_is_refused(write_clip):
    with pytest.raises(UserError, match="is a file; give the folder"):
        read_recordings(write_clip("a.wav", text="hello"))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        read_recordings(tmp_path)


def test_a_folder_without_audio_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match="holds no audio"):
        read_recordings(tmp_path)


def test_audio_without_any_text_is_refused(tmp_path, write_clip):
    write_clip("a.wav")
    write_clip("b.wav")
    with pytest.raises(UserError, match="2 audio files but no text; put what is said"):
        read_recordings(tmp_path)


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
