"""Corpora for speech recognition: Kaldi's folders and LibriSpeech's transcripts."""

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError


@pytest.fixture
def kaldi(tmp_path, write_clip, make_tone):
    """Writes a Kaldi folder `data/train` beside `audio/long.wav` and `audio/b.wav`."""

    def write(**files):
        write_clip("audio/long.wav", make_tone(3.0))
        write_clip("audio/b.wav")
        (tmp_path / "data/train").mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / "data/train" / name.replace("wav_scp", "wav.scp")).write_text(content)
        return tmp_path / "data/train"

    return write


def test_segments_speakers_and_paths_from_the_recipe_are_read(kaldi):
    folder = kaldi(
        wav_scp="rec1 audio/long.wav\nb audio/b.wav\n",
        segments="u1 rec1 0.5 1.25\nu2 rec1 1.5 -1\nb b 0 -1\n",
        utt2spk="u1 anna\nu2 anna\nb ben\n",
        text="u1 HELLO THERE\nu2 AND SO ON\nb GOOD BYE\n",
    )
    recordings = read_recordings(folder)
    assert recordings.format_name == "Kaldi train, 3 rows"
    assert [(u.text, u.speaker, u.start_sec, u.end_sec) for u in recordings.utterances] == [
        ("HELLO THERE", "anna", 0.5, 1.25),
        ("AND SO ON", "anna", 1.5, None),
        ("GOOD BYE", "ben", 0.0, None),
    ]
    assert recordings.utterances[0].audio_path.name == "long.wav"
    assert read_recordings(folder / "wav.scp").utterances == recordings.utterances


def test_without_segments_an_utterance_is_its_file(kaldi):
    recordings = read_recordings(kaldi(wav_scp="b audio/b.wav\n", text="b GOOD BYE\n"))
    assert [(u.text, u.is_segment, u.speaker) for u in recordings.utterances] == [("GOOD BYE", False, "speaker")]


def test_faulty_entries_are_named_with_their_line_and_commands_are_not_run(kaldi, tmp_path):
    folder = kaldi(
        wav_scp=f"b audio/b.wav\ncmd touch {tmp_path}/ran |\ngone audio/gone.wav\n",
        segments="s1 b 0.5\ns2 b x 1\n",
        text="b GOOD BYE\ncmd HELLO\ngone HELLO\nnone HELLO\ns1 HELLO\ns2 HELLO\n",
    )
    recordings = read_recordings(folder)
    assert [u.text for u in recordings.utterances] == ["GOOD BYE"]
    assert [(e.path.rpartition(":")[2], e.reason) for e in recordings.exclusions] == [
        ("2", "wav.scp gives a command, which is not run; give the file"),
        ("3", "there is no audio file 'audio/gone.wav'"),
        ("4", "wav.scp has no entry 'none'"),
        ("5", "the line of segments should be an id, a recording, a start and an end"),
        ("6", "start should be a time in seconds, not 'x'"),
    ]
    assert not (tmp_path / "ran").exists()


def test_every_chapter_of_librispeech_is_read_with_its_speaker(tmp_path, write_clip):
    for speaker, chapter in (("84", "121123"), ("1272", "128104")):
        for number in range(2):
            write_clip(f"dev-clean/{speaker}/{chapter}/{speaker}-{chapter}-000{number}.flac")
        rows = [f"{speaker}-{chapter}-000{number} SENTENCE {number}\n" for number in range(3)]
        (tmp_path / f"dev-clean/{speaker}/{chapter}/{speaker}-{chapter}.trans.txt").write_text("".join(rows))
    recordings = read_recordings(tmp_path)
    assert [(u.audio_path.stem, u.text, u.speaker) for u in recordings.utterances][:2] == [
        ("1272-128104-0000", "SENTENCE 0", "1272"),
        ("1272-128104-0001", "SENTENCE 1", "1272"),
    ]
    assert recordings.num_speakers == 2
    assert [e.reason for e in recordings.exclusions] == [
        "there is no audio file '1272-128104-0002'",
        "there is no audio file '84-121123-0002'",
    ]
    chapter = tmp_path / "dev-clean/84/121123"
    assert len(read_recordings(chapter).utterances) == len(read_recordings(chapter / "84-121123.trans.txt").utterances)


@pytest.mark.parametrize("format", ["kaldi", "librispeech"])
def test_a_folder_without_its_files_cannot_be_read_as_one(tmp_path, write_clip, format):
    write_clip("a.wav", text="hello")
    with pytest.raises(UserError, match=f"is not in the format {format}: expected "):
        read_recordings(tmp_path, format=format)
