"""Tables: columns with and without a header, quotes, delimiters, segments, and faulty rows."""

import unicodedata

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.recordings import TRANSCRIBED_BY
from calm_ft.errors import UserError


@pytest.fixture
def read(tmp_path, write_clip):
    """Reads a table beside a.wav, b.wav, c.wav and d.wav, or beside the folder that holds them."""

    def read_content(content, name="metadata.csv", folder=""):
        for clip in "abcd":
            write_clip(f"{folder}{clip}.wav")
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_recordings(tmp_path / name)

    return read_content


def texts(recordings):
    return {utterance.id: utterance.text for utterance in recordings.utterances}


def faults(recordings):
    return [(int(e.path.rpartition(":")[2]), e.reason) for e in recordings.exclusions]


@pytest.mark.parametrize(
    ("content", "text", "speaker"),
    [
        ("path,text,speaker\na.wav,hi,anna\n", "hi", "anna"),
        ("speaker_id,FILE,Transcript\n7,a.wav,hi\n", "hi", "7"),
        ("wav_filename,wav_filesize,transcript\na.wav,1234,hi\n", "hi", "speaker"),
        ("client_id\tpath\tsentence_id\tsentence\tup_votes\nx9\ta.wav\t17\thi\t2\n", "hi", "x9"),
        ("id,text,normalized text\na,Mr. X,Mister X\n", "Mister X", "speaker"),
        ("Audio File;Text\na.wav;hi, you\n", "hi, you", "speaker"),
        ('"path","text"\n"a.wav","He said ""hi"", twice"\n', 'He said "hi", twice', "speaker"),
        ("\ufeffpath,text\r\na.wav,hi\r\n", "hi", "speaker"),
        ("path,text,,\na.wav,hi,,\n", "hi", "speaker"),
        ("path,text,speaker\na.wav,hi\n", "hi", "speaker"),
        ("audio,path,text\nignored.wav,a.wav,hi\n", "hi", "speaker"),
    ],
)
def test_columns_go_by_the_names_that_datasets_give_them(read, content, text, speaker):
    recordings = read(content)
    assert [(u.id, u.text, u.speaker) for u in recordings.utterances] == [("a", text, speaker)]
    assert recordings.exclusions == []


@pytest.mark.parametrize(
    "content",
    [
        "path,text,lang\na.wav,oui,fr-CA\nb.wav,yes,EN\nc.wav,hm,\n",
        "path\ttext\tlocale\na.wav\toui\tfr\nb.wav\tyes\ten_US\nc.wav\thm\t\n",
        "audio_file|text|language\na.wav|oui|fr\nb.wav|yes|en\nc.wav|hm|\n",
        '{"path": "a.wav", "text": "oui", "language": "fr"}\n{"path": "b.wav", "text": "yes", "language": "en"}\n'
        '{"path": "c.wav", "text": "hm"}\n',
        '{"audio_filepath": "a.wav", "text": "oui", "lang": "fr"}\n{"audio_filepath": "b.wav", "text": "yes", '
        '"lang": "en"}\n{"audio_filepath": "c.wav", "text": "hm", "lang": null}\n',
        "a.wav|anna|FR|oui\nb.wav|anna|EN|yes\n",
        "a.wav\tanna\tFR\toui\nb.wav\tanna\tEN\tyes\n",
    ],
)
def test_the_language_of_a_row_is_kept_as_a_code_without_its_country(read, content):
    recordings = read(content, "list.jsonl" if content.startswith("{") else "list.csv")
    languages = {utterance.text: utterance.language for utterance in recordings.utterances}
    assert languages == {"oui": "fr", "yes": "en"} | ({"hm": ""} if "hm" in content else {})


def test_a_text_may_hold_separators_and_line_breaks_inside_quotes(read):
    recordings = read('path,text\na.wav,"one, two\n\nthree"\nb.wav,"say ""so"",\nor not"\nc.wav,end\n')
    assert texts(recordings) == {"a": "one, two three", "b": 'say "so", or not', "c": "end"}
    assert recordings.exclusions == []


@pytest.mark.parametrize(
    "rows",
    [
        'a.wav,"left open\nb.wav,good\nc.wav,also good\n',
        'a.wav,"left open\nb.wav,good\nc.wav,"also good"\n',
        'a.wav,"left open\n"b.wav","good"\n"c.wav",also good\n',
        '"a.wav,left open\nb.wav,good\nc.wav,also good\n',
        'a.wav,"left open\nb,good\nc,also good\n',
    ],
)
def test_a_quote_left_open_costs_its_own_row_and_no_other(read, rows):
    recordings = read("path,text\n" + rows)
    assert texts(recordings) == {"b": "good", "c": "also good"}
    column = rows.index('"') + 1
    fault = f"the quotes do not fit: one is left open, or one inside a text is not doubled (column {column})"
    assert faults(recordings) == [(2, fault)]


def test_a_quote_left_open_in_the_last_row_or_before_a_missing_clip_swallows_nothing(read):
    recordings = read('path,text\na.wav,"open\ngone.wav,x\nb.wav,good\nc.wav,"open at the end')
    assert texts(recordings) == {"b": "good"}
    assert [line for line, _ in faults(recordings)] == [2, 3, 5]


def test_in_a_tab_separated_table_quotes_that_do_not_fit_belong_to_the_text(read):
    recordings = read('path\ttext\na.wav\t"Hello" he said\nb.wav\t"Stop!\nc.wav\t"All ""quoted"""\n', "train.tsv")
    assert texts(recordings) == {"a": '"Hello" he said', "b": '"Stop!', "c": 'All "quoted"'}
    assert recordings.exclusions == []


FAULTY_TABLES = {
    "csv": (
        [
            *(b"path,text", b"a.wav,good", b"", b"gone.wav,hello", b"b.wav,", b"b.wav,...", b"b.wav,c\xc3\xa9 caf\xe9"),
            *(b"a.wav,again", b"b.wav,Hello, world", b"phone.m4a,hello", b",hello", b'c.wav,"x" y', b"d.wav"),
        ],
        [
            (4, "there is no audio file 'gone.wav'"),
            (5, f"the text is empty; {TRANSCRIBED_BY}"),
            (6, "the text holds no word"),
            (7, "the text is not UTF-8 (column 13)"),
            (8, "the clip 'a' was given before, as a.wav"),
            (9, "the row has 3 columns and the header 2; quote a text that holds a ','"),
            (10, "there is no audio file 'phone.m4a'"),
            (11, "the row names no audio file"),
            (12, "the quotes do not fit: one is left open, or one inside a text is not doubled (column 7)"),
            (13, f"the text is empty; {TRANSCRIBED_BY}"),
        ],
    ),
    "ljspeech": (
        [b"a|good", b"", b"gone|hello", b"no bar", b"b|", b"b|\xc3\xa9 caf\xe9", b"a|again", b"b|x|y|z"],
        [
            (3, "there is no audio file 'gone'"),
            (4, "the row has 1 columns and should be id|text or id|text|normalized text"),
            (5, f"the text is empty; {TRANSCRIBED_BY}"),
            (6, "the text is not UTF-8 (column 8)"),
            (7, "the clip 'a' was given before, as a.wav"),
            (8, "the row has 4 columns and should be id|text or id|text|normalized text"),
        ],
    ),
    "pipe_csv": (
        [b"a.wav|good|anna", b"b.wav", b"c.wav|x|y|z", b"gone.wav|Well, hello.|anna", b"d.wav|\xc3\xa9 caf\xe9|anna"],
        [
            (2, "the row has 1 columns and should be path|text or path|text|speaker"),
            (3, "the row has 4 columns and should be path|text or path|text|speaker"),
            (4, "there is no audio file 'gone.wav'"),
            (5, "the text is not UTF-8 (column 12)"),
        ],
    ),
}


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("format", FAULTY_TABLES)
def test_each_faulty_row_is_excluded_with_its_line_and_reason_and_the_good_one_stays(read, tmp_path, format, start):
    rows, expected = FAULTY_TABLES[format]
    recordings = read(start + b"\r\n".join(rows))
    assert recordings.format == format
    assert texts(recordings) == {"a": "good"}
    assert faults(recordings) == expected
    assert {e.path.rpartition(":")[0] for e in recordings.exclusions} == {f"{tmp_path}/metadata.csv"}


@pytest.mark.parametrize(
    "content",
    [
        "path,start,duration,text\na.wav,0,0.4,one\na.wav,0.4,0.5,two\n",
        "path,start,end,text\na.wav,0,0.4,one\na.wav,0.4,0.9,two\n",
    ],
)
def test_rows_with_a_start_are_segments_of_one_file(read, content):
    recordings = read(content)
    assert [(u.id, u.start_sec, u.end_sec) for u in recordings.utterances] == [
        ("a", 0.0, 0.4),
        ("a@0.400", 0.4, 0.9),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path,start,text\na.wav,0.5,no end\nb.wav,,good\n", "the row has a start within its audio file and neither"),
        ("path,start,end,text\na.wav,00:01,00:02,x\nb.wav,,,good\n", "start should be a time in seconds, not '00:01'"),
        ("path,start,duration,text\na.wav,1,nan,x\nb.wav,,,good\n", "duration should be a time in seconds, not 'nan'"),
    ],
)
def test_a_segment_without_proper_times_is_excluded(read, content, reason):
    recordings = read(content)
    assert texts(recordings) == {"b": "good"}
    assert recordings.exclusions[0].reason.startswith(reason)


def test_a_duration_without_a_start_does_not_make_a_segment(read):
    (utterance,) = read("path,duration,text\na.wav,0.5,hi\n").utterances
    assert not utterance.is_segment


def test_a_hundred_different_missing_files_are_one_reason(read):
    rows = "".join(f"missing {index} x{'y' * index}.wav,hello\n" for index in range(100))
    with pytest.raises(UserError, match=r"103 left out, most often because there is no audio file 'missing 0 x.wav'"):
        read("path,text\na.wav,\nb.wav,\nc.wav,\n" + rows)


@pytest.mark.parametrize(
    "content",
    [
        "wavs/a.wav|Hi there.|anna\nwavs/b.wav|Hello you.|ben\n",
        "wavs/a.wav|anna|Hi there.\nwavs/b.wav|ben|Hello you.\n",
        "audio_file|text|speaker_name\nwavs/a.wav|Hi there.|anna\nwavs/b.wav|Hello you.|ben\n",
        "speaker|text|path\nanna|Hi there.|a\nben|Hello you.|b\n",
    ],
)
def test_between_bars_text_and_speaker_are_told_apart_in_every_order(read, content):
    recordings = read(content, "train.txt", "wavs/")
    assert recordings.format == "pipe_csv"
    assert [(u.id, u.text, u.speaker) for u in recordings.utterances] == [
        ("wavs/a", "Hi there.", "anna"),
        ("wavs/b", "Hello you.", "ben"),
    ]


def test_names_of_two_words_that_come_again_are_speakers(read):
    rows = [("a", "Hi there.", "Big John"), ("b", "So long.", "Little Ann"), ("c", "Come in.", "Big John")]
    rows += [("d", "What is it?", "Little Ann")]
    recordings = read("".join(f"wavs/{name}.wav|{text}|{speaker}\n" for name, text, speaker in rows), folder="wavs/")
    assert [(u.text, u.speaker) for u in recordings.utterances] == [(text, speaker) for _, text, speaker in rows]
    assert recordings.num_speakers == 2


def test_between_bars_quotes_are_part_of_a_text_without_a_header_and_undone_with_one(read):
    assert texts(read('a.wav|"Hi," she said\n')) == {"a": '"Hi," she said'}
    with_header = read('audio_file|text\na|"Hi, ""you"""\nb|"Hi," she said\n')
    assert texts(with_header) == {"a": 'Hi, "you"', "b": '"Hi," she said'}


def test_the_normalized_text_is_preferred_and_the_plain_text_stands_in_for_an_empty_one(read):
    recordings = read("a|In 1455|In fourteen fifty-five\nb|plain|\nc|two columns\n", folder="wavs/")
    assert recordings.format == "ljspeech"
    assert texts(recordings) == {"wavs/a": "In fourteen fifty-five", "wavs/b": "plain", "wavs/c": "two columns"}


@pytest.mark.parametrize(
    ("audio", "row_name"),
    [
        *(("wavs/a.wav", "a"), ("a.flac", "a"), ("wavs/a.wav", "a.wav"), ("x/a.OGG", "x/a")),
        (unicodedata.normalize("NFD", "wavs/\u00fcber.wav"), unicodedata.normalize("NFC", "\u00fcber")),
    ],
)
def test_the_audio_of_ljspeech_lies_in_wavs_or_beside_and_the_suffix_may_be_given(
    tmp_path, write_clip, audio, row_name
):
    path = write_clip(audio)
    (tmp_path / "metadata.csv").write_text(f"{row_name}|hello\n", encoding="utf-8")
    recordings = read_recordings(tmp_path)
    assert [u.audio_path for u in recordings.utterances] == [path]
    assert read_recordings(tmp_path / "metadata.csv").utterances == recordings.utterances


def test_a_line_separator_inside_a_text_does_not_split_the_row(read):
    assert texts(read("a|one\u2028two\n")) == {"a": "one two"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file"),
        ("a,hello\n", "found 'a,hello': give it a header such as path,text"),
        ("gone|hello\n", "1 left out, most often because there is no audio file 'gone'"),
    ],
)
def test_a_table_that_gives_no_clip_is_refused(read, content, message):
    with pytest.raises(UserError, match=message):
        read(content)


@pytest.mark.parametrize(
    "measures",
    [["3.52", "1.07", "2.2", "9.0"], ["3.5s", "1 s", "2 s", "9.1 s"], ["00:03", "00:01", "00:02", "00:09"]],
)
@pytest.mark.parametrize("delimiter", ["|", "\t"])
def test_a_last_column_of_durations_is_no_speaker_for_every_clip(read, measures, delimiter):
    rows = [delimiter.join((f"{name}.wav", f"text {name}", m)) for name, m in zip("abcd", measures, strict=True)]
    recordings = read("\n".join(rows), "list.txt")
    assert texts(recordings) == {name: f"text {name}" for name in "abcd"}
    assert recordings.num_speakers == 1


def test_whole_numbers_that_hardly_come_again_are_measures_and_others_are_speakers(read, write_clip):
    for number in range(12):
        write_clip(f"n{number}.wav")
    samples = "".join(f"n{number}.wav|hello {number}|{24000 + number}\n" for number in range(12))
    assert read(samples, "list.txt").num_speakers == 1
    people = "".join(f"n{number}.wav|hello {number}|{number % 3}\n" for number in range(12))
    assert read(people, "list.txt").num_speakers == 3
