"""Subtitles beside a long recording become segments of whole sentences."""

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.subtitles import Cue, read_cues
from calm_ft.data.utterance import UnusableClip

pytest.importorskip("pysubs2")

SRT = """1
00:00:00,500 --> 00:00:01,500
Hello there,

2
00:00:01,600 --> 00:00:02,500
my <i>friend</i>.

3
00:00:02,600 --> 00:00:03,500
How are you?

4
00:00:04,500 --> 00:00:04,900
♪
"""
VTT = """WEBVTT

00:00.500 --> 00:01.500
Hello there,

00:01.600 --> 00:02.500
my friend.

00:02.600 --> 00:03.500
How are you?
"""
SENTENCES = [("a@0.500", "Hello there, my friend.", 0.5, 2.5), ("a@2.600", "How are you?", 2.6, 3.5)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", SRT.encode()),
        ("a.SRT", SRT.encode("utf-16")),
        ("a.srt", SRT.replace("\n", "\r\n").encode("utf-8-sig")),
        ("a.vtt", VTT.encode()),
        ("a.en.vtt", VTT.encode()),
        ("a.en-US.vtt", VTT.encode()),
    ],
)
def test_the_sentences_of_subtitles_are_segments(tmp_path, write_clip, make_tone, name, content):
    write_clip("a.wav", make_tone(5.0))
    (tmp_path / name).write_bytes(content)
    recordings = read_recordings(tmp_path)
    assert [(u.id, u.text, u.start_sec, u.end_sec) for u in recordings.utterances] == SENTENCES
    assert recordings.exclusions == []
    assert recordings.without_text == []


@pytest.mark.parametrize(("duration_sec", "num_clips"), [(5.0, 1), (31.0, 2)])
def test_a_text_is_the_text_of_a_short_recording_and_subtitles_those_of_a_long_one(
    tmp_path, write_clip, make_tone, duration_sec, num_clips
):
    write_clip("a.wav", make_tone(duration_sec), text="Hello there, my friend. How are you?")
    (tmp_path / "a.srt").write_text(SRT)
    assert len(read_recordings(tmp_path).utterances) == num_clips


def test_captions_that_roll_give_every_line_once():
    captions = """WEBVTT

00:00:00.000 --> 00:00:02.000
so the first line

00:00:02.000 --> 00:00:02.010
so the first line

00:00:02.010 --> 00:00:04.000
so the first line
and the second line

00:00:04.000 --> 00:00:04.010
and the second line

00:00:04.010 --> 00:00:06.000
and the second line
ends here.
"""
    assert [cue.text for cue in read_cues(captions)] == ["so the first line and the second line ends here."]


def test_a_line_said_twice_is_kept_twice():
    cues = "1\n00:00:00,000 --> 00:00:01,000\nNo.\n\n2\n00:00:02,000 --> 00:00:03,000\nNo.\n"
    assert read_cues(cues) == [Cue(0.0, 1.0, "No."), Cue(2.0, 3.0, "No.")]


def test_sentences_end_at_pauses_and_at_fifteen_seconds():
    def cue(number, start, end, text):
        return f"{number}\n00:00:{start:02d},000 --> 00:00:{end:02d},000\n{text}\n\n"

    apart = read_cues(cue(1, 0, 2, "one") + cue(2, 4, 6, "two"))
    assert [each.text for each in apart] == ["one", "two"]
    long = read_cues("".join(cue(n, 4 * n, 4 * n + 4, f"part{n}") for n in range(8)))
    assert [each.text for each in long] == ["part0 part1 part2", "part3 part4 part5", "part6 part7"]
    assert max(each.end_sec - each.start_sec for each in long) <= 15


@pytest.mark.parametrize("content", ["", "just words", "1\n00:00:01,000 --> 00:00:01,000\nempty time\n"])
def test_what_holds_no_cue_is_refused(content):
    with pytest.raises(UnusableClip, match="the subtitles"):
        read_cues(content)


def test_without_pysubs2_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pysubs2", None)
    with pytest.raises(UnusableClip, match="install the extra `preparation`"):
        read_cues(SRT)
