"""Folders of audio beside text files, and audiofolders: what is read, what is left out, and what stops the run."""

import os

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.recordings import TRANSCRIBED_BY
from calm_ft.errors import UserError


def reasons(recordings, folder):
    return {exclusion.path.removeprefix(f"{folder}/"): exclusion.reason for exclusion in recordings.exclusions}


def test_pairs_are_found_at_any_depth_sorted_with_posix_ids(tmp_path, write_clip):
    write_clip("b.wav", text="second")
    write_clip("a/deep/x.flac", text="first")
    recordings = read_recordings(tmp_path)
    assert [(u.id, u.text, u.speaker) for u in recordings.utterances] == [
        ("a/deep/x", "first", "speaker"),
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
    write_clip("unknown.wav")
    (tmp_path / "unknown.txt").write_bytes(b"ca\x81\xff")
    write_clip("phones.wav")
    (tmp_path / "phones.lab").write_text("0 3050000 sil\n3050000 3500000 hh\n")
    (tmp_path / "orphan.txt").write_text("nobody says this")
    (tmp_path / "orphan.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nnor this\n")
    recordings = read_recordings(tmp_path)
    assert [u.id for u in recordings.utterances] == ["good"]
    assert reasons(recordings, tmp_path) == {
        "no_text.wav": f"there is no text beside the audio; {TRANSCRIBED_BY}",
        "empty.wav": f"the text is empty; {TRANSCRIBED_BY}",
        "dots.wav": "the text holds no word",
        "unknown.wav": "the text is not UTF-8 (column 3)",
        "phones.wav": "phones.lab holds the times of phones, not a text",
        "orphan.txt": "there is no audio file of this name beside the text",
        "orphan.srt": "there is no audio file of this name beside the text",
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
        (["a.txt"], "holds no audio; recordings are wav, flac, .*m4a"),
        (["a.wav", "b.m4a"], "holds 2 audio files but no text; .*python scripts/prepare.py {set} --output-dir DATASET"),
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


@pytest.mark.parametrize(
    "files",
    [
        {"a.wav": "", "a.lab": "hello"},
        {"a.wav": "", "a.normalized.txt": "hello", "a.original.txt": "HELLO!"},
        {"a.wav": "", "a.original.txt": "hello"},
        {"wav48/p225/a.wav": "", "txt/p225/a.txt": "hello"},
        {"wav48_silence_trimmed/p225/a_mic1.wav": "", "txt/p225/a.txt": "hello"},
        {"audio/a.wav": "", "Transcripts/a.txt": "hello"},
        {"A.WAV": "", "a.txt": "hello"},
        {"U\u0308ber.wav": "", "\u00fcber.txt": "hello"},
        {"a.wav": "", "a.txt": "hello", "b/a.txt": "other", "b/a.wav": ""},
    ],
)
def test_the_text_of_a_recording_is_found_wherever_corpora_put_it(tmp_path, write_clip, files):
    for name, text in files.items():
        if not text:
            path = write_clip(f"set/{name.lower()}")
            path.rename(tmp_path / "set" / name) if name != name.lower() else None
            continue
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(text)
    recordings = read_recordings(tmp_path / "set")
    assert recordings.utterances[0].text == "hello"
    assert recordings.exclusions == []


def test_of_two_microphones_one_is_read_and_speakers_are_the_folders(tmp_path, write_clip):
    for speaker in ("p225", "p226"):
        for microphone in (1, 2):
            write_clip(f"wav48/{speaker}/{speaker}_001_mic{microphone}.flac")
        (tmp_path / f"txt/{speaker}").mkdir(parents=True)
        (tmp_path / f"txt/{speaker}/{speaker}_001.txt").write_text(f"said by {speaker}")
    recordings = read_recordings(tmp_path)
    assert [(u.audio_path.name, u.text, u.speaker) for u in recordings.utterances] == [
        ("p225_001_mic1.flac", "said by p225", "p225"),
        ("p226_001_mic1.flac", "said by p226", "p226"),
    ]
    assert {e.reason for e in recordings.exclusions} == {"the same sentence is read from another microphone"}


def test_two_texts_that_fit_equally_well_are_not_chosen_between(tmp_path, write_clip):
    write_clip("audio/a.wav")
    write_clip("b.wav", text="hello")
    for folder in ("txt", "lab"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
    recordings = read_recordings(tmp_path)
    assert [u.id for u in recordings.utterances] == ["b"]
    assert reasons(recordings, tmp_path)["audio/a.wav"] == "two texts fit the audio: a.txt and a.txt"


@pytest.mark.parametrize("suffix", [".webm", ".m4a", ".aiff", ".oga", ".mp4", ".amr", ".M4A"])
def test_a_folder_of_one_kind_of_recording_is_read(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"decoded later")
    (tmp_path / "a.txt").write_text("hello")
    assert [u.audio_path.name for u in read_recordings(tmp_path).utterances] == [f"a{suffix}"]


def test_a_film_beside_its_own_sound_is_passed_over(tmp_path, write_clip):
    write_clip("a.wav", text="hello")
    (tmp_path / "a.mp4").write_bytes(b"film")
    recordings = read_recordings(tmp_path)
    assert [u.audio_path.name for u in recordings.utterances] == ["a.wav"]
    assert recordings.exclusions == []


def test_texts_in_a_code_page_are_read_and_it_is_said(tmp_path, write_clip):
    texts = {"a": "Un caf\u00e9.", "b": "O\u00f9 est-il ?", "c": "plain", "d": "L\u2019\u00e9t\u00e9"}
    for name, text in texts.items():
        write_clip(f"{name}.wav")
        (tmp_path / f"{name}.txt").write_bytes(text.encode("cp1252"))
    write_clip("e.wav", text="\u00e9t\u00e9 in UTF-8")
    recordings = read_recordings(tmp_path)
    assert {u.id: u.text for u in recordings.utterances} == {**texts, "e": "\u00e9t\u00e9 in UTF-8"}
    assert recordings.notes == [
        "3 texts, such as a.txt, were read as cp1252; save them as UTF-8 if their letters are wrong"
    ]


def test_many_short_texts_together_show_their_code_page(tmp_path, write_clip):
    russian = ["\u041f\u0440\u0438\u0432\u0435\u0442", "\u041a\u0430\u043a \u0434\u0435\u043b\u0430?"]
    texts = {f"{number}": text for number, text in enumerate(russian * 10)}
    for name, text in texts.items():
        write_clip(f"{name}.wav")
        (tmp_path / f"{name}.txt").write_bytes(text.encode("cp1251"))
    assert {u.id: u.text for u in read_recordings(tmp_path).utterances} == texts


def test_audio_without_text_is_kept_for_those_who_can_transcribe_it(tmp_path, write_clip):
    write_clip("anna/a.wav", text="hello")
    write_clip("anna/b.wav")
    write_clip("ben/c.wav", text=" ")
    trained = read_recordings(tmp_path)
    assert [e.duration_sec for e in trained.exclusions] == [1.0, 1.0]
    recordings = read_recordings(tmp_path, require_text=False)
    assert [u.id for u in recordings.utterances] == ["anna/a"]
    assert recordings.without_text == [tmp_path / "anna/b.wav", tmp_path / "ben/c.wav"]
    assert [(u.id, u.text, u.speaker) for u in recordings.textless] == [("anna/b", "", "anna"), ("ben/c", "", "ben")]
    assert recordings.exclusions == []


def test_a_folder_of_audio_alone_or_one_file_is_read_where_no_text_is_needed(tmp_path, write_clip):
    path = write_clip("set/hour.wav")
    for given in (tmp_path / "set", path):
        recordings = read_recordings(given, require_text=False)
        assert (recordings.utterances, recordings.without_text) == ([], [path])
    path.unlink()
    (tmp_path / "set/notes.txt").write_text("no audio here")
    with pytest.raises(UserError, match="holds no audio"):
        read_recordings(tmp_path / "set", require_text=False)


def test_one_recording_is_read_with_its_own_text(tmp_path, write_clip):
    write_clip("other.wav", text="other")
    path = write_clip("one.wav", text="hello")
    (utterance,) = read_recordings(path, require_text=False).utterances
    assert (utterance.id, utterance.text) == ("one", "hello")


def test_rows_of_a_list_without_a_text_are_kept_too_and_unlisted_audio_is_named(tmp_path, write_clip):
    for name in "abc":
        write_clip(f"wavs/{name}.wav")
    (tmp_path / "metadata.csv").write_text("path,text\na.wav,hello\nb.wav,\n")
    recordings = read_recordings(tmp_path, require_text=False)
    assert recordings.without_text == [tmp_path / "wavs/b.wav"]
    assert recordings.notes == ["1 audio files, such as c.wav, are not in CSV metadata.csv; not read"]


@pytest.mark.slow
def test_ten_thousand_bad_texts_are_one_sentence_and_all_listed(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    rows = "".join(f"gone{n}.wav,hello\n" for n in range(10_000))
    (tmp_path / "metadata.csv").write_text("path,text\na.wav,hello\n" + rows)
    recordings = read_recordings(tmp_path)
    assert len(recordings.exclusions) == 10_000
    (tmp_path / "metadata.csv").write_text("path,text\n" + rows)
    with pytest.raises(UserError) as error:
        read_recordings(tmp_path)
    assert len(str(error.value)) < 300
