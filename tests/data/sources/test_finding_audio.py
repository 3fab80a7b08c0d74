"""The ways in which tables name their audio, and that each finds the one file."""

import os
import unicodedata

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.finding_audio import AudioFinder
from calm_ft.data.utterance import UnusableClip


@pytest.mark.parametrize(
    "name",
    [
        *("wavs/anna/a.wav", "wavs/anna/a", "anna/a.wav", "anna/a", "./wavs/anna/a.wav", "wavs/ben/../anna/a.wav"),
        *("wavs\\anna\\a.wav", "anna\\a", ".\\wavs\\anna\\a.wav", "wavs/anna/a.WAV", "  wavs/anna/a.wav "),
        *("C:\\data\\set\\wavs\\anna\\a.wav", "/home/other/set/wavs/anna/a", "{folder}/wavs/anna/a.wav"),
        *("{folder}/wavs/anna/a", "set/wavs/anna/a.wav", "../set/wavs/anna/a.wav"),
    ],
)
def test_every_way_of_naming_it_finds_the_file(tmp_path, write_clip, name):
    path = write_clip("set/wavs/anna/a.wav")
    found = AudioFinder(tmp_path / "set").find(name.format(folder=tmp_path / "set"))
    assert found == path


def test_a_file_with_an_upper_case_suffix_is_found_by_any(tmp_path, write_clip):
    path = write_clip("wavs/a.WAV")
    assert [AudioFinder(tmp_path).find(name) for name in ("a", "a.wav", "a.WAV", "wavs/a.Wav")] == [path] * 4


def test_a_path_counts_from_where_the_command_runs_when_nothing_else_fits(tmp_path, write_clip, monkeypatch):
    path = write_clip("audio/a.wav")
    (tmp_path / "lists/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert AudioFinder(tmp_path / "lists/deep").find("audio/a.wav") == path


def test_a_list_in_a_folder_of_its_own_counts_from_the_folder_above(tmp_path, write_clip):
    path = write_clip("wavs/a.wav")
    (tmp_path / "filelists").mkdir()
    (tmp_path / "filelists/train.txt").write_text("wavs/a.wav|hello\n")
    (utterance,) = read_recordings(tmp_path / "filelists/train.txt").utterances
    assert (utterance.audio_path, utterance.id) == (path, "../wavs/a")


def test_of_two_files_of_one_stem_the_one_named_is_taken_and_the_lossless_one_for_the_bare_stem(tmp_path, write_clip):
    mp3, flac = write_clip("a.mp3"), write_clip("a.flac")
    finder = AudioFinder(tmp_path)
    assert [finder.find(name) for name in ("a.mp3", "a.flac", "a")] == [mp3, flac, flac]


def test_a_row_that_names_a_recording_finds_it_itself_or_what_it_was_converted_to(tmp_path, write_clip):
    path = write_clip("wavs/my clip.wav")
    assert AudioFinder(tmp_path).find("my clip.m4a") == path
    (tmp_path / "wavs/my clip.m4a").write_bytes(b"m4a")
    assert AudioFinder(tmp_path).find("my clip.m4a") == tmp_path / "wavs/my clip.m4a"


def test_a_name_matches_its_file_across_unicode_forms(tmp_path, write_clip):
    path = write_clip(unicodedata.normalize("NFD", "\u00fcber.wav"))
    assert AudioFinder(tmp_path).find("\u00fcber.wav") == path


@pytest.mark.parametrize("name", ["CLIP 1.wav", "clip 1.WAV", "Wavs/Clip 1", "d:\\VOICES\\wavs\\clip 1.wav"])
def test_a_name_in_another_case_finds_the_one_file_that_fits(tmp_path, write_clip, name):
    path = write_clip("wavs/Clip 1.wav")
    assert AudioFinder(tmp_path).find(name) == path


def test_of_two_files_that_differ_only_in_case_none_is_guessed(tmp_path, write_clip):
    exact = write_clip("wavs/a.wav")
    write_clip("wavs/A.wav")
    assert AudioFinder(tmp_path).find("a") == exact
    write_clip("wavs/b.wav")
    write_clip("clips/B.wav")
    write_clip("clips/deep/x.wav")
    write_clip("clips/deeper/x.wav")
    with pytest.raises(UnusableClip, match="there is no audio file 'x'"):
        AudioFinder(tmp_path).find("x")


def test_a_bare_id_finds_the_one_file_of_its_name_in_any_folder(tmp_path, write_clip):
    path = write_clip("audio/4800/10003/4800_10003_000000.flac")
    assert AudioFinder(tmp_path).find("4800_10003_000000") == path


def test_a_file_whose_name_is_in_a_code_page_is_found_by_a_list_in_utf8(tmp_path, write_clip):
    path = write_clip("a.wav")
    named = path.rename(path.parent / os.fsdecode("caf\u00e9.wav".encode("latin-1")))
    assert AudioFinder(tmp_path).find("caf\u00e9.wav") == named


def test_a_link_to_itself_is_no_audio_and_does_not_hang(tmp_path, write_clip):
    write_clip("a.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(UnusableClip, match="there is no audio file"):
        AudioFinder(tmp_path).find("loop.wav")
    with pytest.raises(UnusableClip, match="there is no audio file"):
        AudioFinder(tmp_path).find("one/a.mp3")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b.wav", "there is no audio file 'b.wav'"),
        ("a.flac", "there is no audio file 'a.flac'"),
        ("/nowhere/b.wav", "there is no audio file '/nowhere/b.wav'"),
        ("/", "there is no audio file '/'"),
        ("wavs", "there is no audio file 'wavs'"),
        (" ", "the row names no audio file"),
        ("b.m4a", "there is no audio file 'b.m4a'"),
        ("a.txt", "'a.txt' is not an audio file"),
        ("a very long text in the wrong column " * 20, "there is no audio file"),
        ("a/" + "x" * 300 + ".wav", "there is no audio file"),
        ("nul\0byte.wav", "there is no audio file"),
    ],
)
def test_what_is_not_there_or_no_audio_is_said(tmp_path, write_clip, name, reason):
    write_clip("wavs/a.wav")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UnusableClip, match=f"^{reason}"):
        AudioFinder(tmp_path).find(name)
