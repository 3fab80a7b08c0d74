"""The corpus resumes, and the held-out voices stand in no training list."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm_ft.errors import UserError
from tools.nano import corpus as corpus_module
from tools.nano import espeak
from tools.nano.asr_corpus import asr_lines
from tools.nano.assets import held_out_sentences, reserved_sentences
from tools.nano.corpus import Line, codec_lines, flow_lm_lines, write_corpus
from tools.nano.espeak import SAMPLE_RATE_HZ, TRAILING_SILENCE_SEC, EspeakVoice, synthesize
from tools.nano.everyday import spelled_out
from tools.nano.files import read_json_lines
from tools.nano.sentences import make_sentences, num_distinct_words
from tools.nano.voices import (
    BASE_VOICE,
    DEMO_VOICE,
    FLOW_LM_VOICES,
    HELD_OUT_VARIANTS,
    JUDGING_VOICES,
    ZERO_SHOT_VOICES,
)

LINES = [
    Line(EspeakVoice("f1", "f1"), text, f"f1/{number}.wav")
    for number, text in enumerate(["One red fox ran.", "Is it late?", "Stop, now!"])
]


def test_a_corpus_killed_half_way_keeps_its_files_and_has_no_manifest(tmp_path: Path, monkeypatch):
    calls: list[str] = []

    def synthesize_and_die(text: str, voice: EspeakVoice):
        calls.append(text)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return espeak.synthesize_with_words(text, voice)

    monkeypatch.setattr(corpus_module, "synthesize_with_words", synthesize_and_die)
    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path, LINES)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["0.wav", "0.words.jsonl", "1.wav", "1.words.jsonl"]

    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    manifest = write_corpus(tmp_path, LINES)
    assert calls[3:] == ["Stop, now!"]
    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    rows = read_json_lines(manifest)
    assert [row["text"] for row in rows] == [line.text for line in LINES]
    assert all((tmp_path / row["path"]).is_file() and row["speaker"] == "f1" for row in rows)
    assert [word["word"] for word in rows[0]["words"]] == ["One", "red", "fox", "ran."]


def test_a_file_cut_off_while_it_was_written_leaves_nothing_behind(tmp_path: Path, monkeypatch):
    def write_half(path: Path, *arguments: object, **settings: object) -> None:
        Path(path).write_bytes(b"RIFF")
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile, "write", write_half)
    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path, LINES)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["0.words.jsonl"]


def test_speech_is_audible_and_ends_in_a_fixed_silence():
    samples = synthesize("The tall man waited.", EspeakVoice("f2", "f2"))
    tail_samples = round(TRAILING_SILENCE_SEC * SAMPLE_RATE_HZ)
    assert abs(samples[-tail_samples:]).max() == 0
    assert abs(samples[-tail_samples - 1]) > 0
    assert 0.1 < abs(samples).max() <= 0.8
    assert 0.5 < len(samples) / SAMPLE_RATE_HZ < 5


def test_words_have_their_times_and_are_those_of_the_text():
    text = "The queen of the old house, Sam's, has 42 dogs."
    samples, words = espeak.synthesize_with_words(text, EspeakVoice("f1", "f1"))
    assert " ".join(word["word"] for word in words) == text
    times = [time for word in words for time in (word["start_sec"], word["end_sec"])]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(len(samples) / SAMPLE_RATE_HZ - TRAILING_SILENCE_SEC, abs=1e-3)
    # A pause stands after the comma: the sound before the next word is silent, as it is nowhere within the first words.
    (comma,) = [word for word in words if word["word"] == "house,"]
    end = round(comma["end_sec"] * SAMPLE_RATE_HZ)
    assert abs(samples[end - 1600 : end]).max() < 0.02 < abs(samples[: end - 3200]).max()


def test_a_shorter_vocal_tract_raises_every_frequency_and_shortens_the_times():
    plain, words = espeak.synthesize_with_words("Aaah.", EspeakVoice("f1", "f1"))
    raised, sooner = espeak.synthesize_with_words("Aaah.", EspeakVoice("f1", "f1", tract=1.12))

    def centre_hz(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float((np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ) * power).sum() / power.sum())

    assert centre_hz(raised) == pytest.approx(1.12 * centre_hz(plain), rel=0.03)
    assert sooner[-1]["end_sec"] == pytest.approx(words[-1]["end_sec"] / 1.12, rel=0.03)


def test_held_out_voices_stand_in_no_training_list():
    heard = {line.voice.variant for line in codec_lines(0)} | {line.voice.variant for line in flow_lm_lines(0)}
    assert {DEMO_VOICE.variant, *(voice.variant for voice in ZERO_SHOT_VOICES)} == HELD_OUT_VARIANTS
    assert not heard & HELD_OUT_VARIANTS


def test_the_lists_have_the_sizes_of_the_recipe():
    assert len({line.voice.variant for line in codec_lines(0)}) >= 80
    assert len({voice.name for voice in FLOW_LM_VOICES}) == len(FLOW_LM_VOICES) == 24
    lines = flow_lm_lines(0)
    assert len(lines) == len({line.path for line in lines}) == 24 * (350 + 150) + 84 * 10 * (17 + 7)
    assert len(set(JUDGING_VOICES)) == 8
    assert BASE_VOICE in JUDGING_VOICES
    assert set(JUDGING_VOICES) <= set(FLOW_LM_VOICES)


def test_no_corpus_says_a_sentence_that_judges():
    reserved = reserved_sentences(0)
    assert {text for texts in held_out_sentences(0).values() for text in texts} <= reserved
    assert not reserved & {line.text for line in [*flow_lm_lines(0), *asr_lines(0, num_each=(20, 1))]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Room 42 is near the 7 boats.", "Room forty two is near the seven boats."),
        ("Turn to page 100.", "Turn to page one hundred."),
        ("Anna is 13 and Tom is 0.", "Anna is thirteen and Tom is zero."),
        ("No number here.", "No number here."),
    ],
)
def test_numbers_are_spelled_out_as_they_are_said(text: str, said: str):
    assert spelled_out(text) == said


def test_the_recogniser_is_taught_no_digit():
    lines = asr_lines(0, num_each=(20, 1))
    assert any("forty" in line.text for line in lines)
    assert not any(character.isdigit() for line in lines for character in line.text)


def test_a_second_recogniser_can_be_kept_from_voices():
    lines = asr_lines(1, num_each=(2, 1), left_out=("belinda", "f1"))
    assert not {"belinda", "f1"} & {line.voice.variant for line in lines}
    assert "f2" in {line.voice.variant for line in lines}


def test_sentences_are_distinct_punctuated_and_repeatable():
    sentences = make_sentences(500, seed=0, stream="a")
    assert sentences == make_sentences(500, seed=0, stream="a")
    assert sentences != make_sentences(500, seed=1, stream="a")
    assert len(set(sentences)) == 500
    assert all(sentence[0].isupper() and sentence[-1] in ".!?" for sentence in sentences)
    assert all(3 <= len(sentence.split()) <= 12 for sentence in sentences)
    assert {sentence[-1] for sentence in sentences} == set(".!?")
    assert any("," in sentence for sentence in sentences)
    assert num_distinct_words() > 3500


def test_taken_sentences_are_not_made_again():
    taken = make_sentences(50, seed=0, stream="a")
    assert not set(taken) & set(make_sentences(50, seed=0, stream="a", taken=taken))


def test_without_espeak_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak._engine.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'calm_ft\[nano\]'"):
        synthesize("Hello.", EspeakVoice("f1", "f1"))


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match="nobody"):
        synthesize("Hello.", EspeakVoice("x", "nobody"))
