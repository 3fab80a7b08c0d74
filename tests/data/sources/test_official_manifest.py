"""The official training manifest: segments of long files, words that count from the segment's start."""

import json

import numpy as np
import pytest
import torch

from calm_ft.adapters.pocket_tts.prompt_cut import PromptLength, cut_at_word
from calm_ft.data.audio import load_clip
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import WordTime


def word(text, start=None, end=None):
    return {"word": text, "start": start, "end": end}


@pytest.fixture
def read(tmp_path):
    def read_rows(*rows):
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_recordings(tmp_path / "train.jsonl")

    return read_rows


def test_rows_become_segments_with_their_own_words_and_sound(read, write_clip, make_tone):
    path = write_clip(
        "chapter.wav", np.concatenate([make_tone(2.0, frequency_hz=300), make_tone(2.0, frequency_hz=900)])
    )
    first = [word("One", 0.1, 0.6), word("two", 0.7, 1.2)]
    second = [word("three", 0.2, 0.8), word("four", 1.0, 1.5)]
    common = {"path": str(path), "duration": 1.8, "speaker": 92}
    recordings = read(
        {**common, "transcript": "One two", "words": first},
        {**common, "start": 2.1, "transcript": "three four", "words": second, "audio_filepath": "92/x.flac"},
    )
    assert recordings.format_name == "official manifest train.jsonl, 2 rows"
    one, two = recordings.utterances
    assert (one.id, one.start_sec, one.end_sec, one.speaker) == ("chapter", 0.0, 1.8, "92")
    assert (two.id, two.start_sec, two.end_sec) == ("chapter@2.100", 2.1, pytest.approx(3.9))
    assert one.words == (WordTime("One", 0.1, 0.6), WordTime("two", 0.7, 1.2))
    assert two.words == (WordTime("three", 0.2, 0.8), WordTime("four", 1.0, 1.5))
    for utterance, frequency_hz in ((one, 300), (two, 900)):
        samples = load_clip(utterance, 24000, 0.0).samples.numpy()
        assert len(samples) == 1.8 * 24000
        assert np.abs(np.fft.rfft(samples)).argmax() / 1.8 == pytest.approx(frequency_hz, abs=1)


def test_a_prompt_is_cut_at_the_words_of_the_segment_not_of_the_file(read, write_clip, make_tone):
    path = write_clip("chapter.wav", make_tone(60.0))
    words = [word("three", 0.2, 0.8), word("four", 1.0, 1.4), word("five.", 2.4, 2.8)]
    row = {"path": str(path), "start": 40.0, "duration": 3.0, "transcript": "three four five.", "words": words}
    (utterance,) = read(row).utterances
    cut = cut_at_word(utterance, 38, PromptLength(1.5, 3.0), 12.5, torch.Generator())
    assert cut == (round(1.9 * 12.5), "five.")


def test_a_word_without_times_is_joined_with_its_neighbours_so_that_no_cut_falls_beside_it(read, write_clip, make_tone):
    path = write_clip("a.wav", make_tone(6.0))
    words = [word("Well,"), word("in", 0.5, 0.8), word("1943"), word("he", 2.0, 2.2), word("came", 2.5, 2.9)]
    words += [word("home", 3.2, 3.6), word("\u00bb")]
    (utterance,) = read(
        {"path": str(path), "duration": 6.0, "transcript": "Well, in 1943 ...", "words": words}
    ).utterances
    assert utterance.words == (
        WordTime("Well, in 1943 he", 0.0, 2.2),
        WordTime("came", 2.5, 2.9),
        WordTime("home \u00bb", 3.2, 6.0),
    )


@pytest.mark.parametrize("words", [None, [], [word("not"), word("aligned")]])
def test_a_row_without_known_times_has_no_words(read, write_clip, words):
    path = write_clip("a.wav")
    row = {"path": str(path), "duration": 1.0, "transcript": "not aligned", "words": words}
    assert read(row).utterances[0].words is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"duration": None}, "duration should be a time in seconds, not None"),
        ({"duration": "long"}, "duration should be a time in seconds, not 'long'"),
        ({"start": -1}, "start should be a time in seconds, not -1"),
        ({"transcript": ""}, "the text is empty"),
        ({"transcript": None}, "the row should be an object whose 'transcript' is a string"),
        ({"path": "gone.wav"}, "there is no audio file 'gone.wav'"),
        ({"words": "hello"}, "words should be a list of {word, start, end}"),
        ({"words": [{"start": 0, "end": 1}]}, "words should be a list of {word, start, end}"),
        ({"words": [word("a", 0.5, 0.2)]}, "the word times do not follow each other"),
        ({"start": 0.0}, "the clip 'a' was given before, as a.wav"),
    ],
)
def test_a_faulty_row_is_excluded_and_the_good_one_stays(read, write_clip, tmp_path, change, reason):
    row = {"path": str(write_clip("a.wav")), "duration": 1.0, "transcript": "hello"}
    recordings = read(row, {**row, "start": 0.25, **change})
    assert [u.text for u in recordings.utterances] == ["hello"]
    assert [(e.path, e.reason) for e in recordings.exclusions] == [(f"{tmp_path}/train.jsonl:2", reason)]
