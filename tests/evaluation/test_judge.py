"""The judge: known answers, standard errors, and audio that says nothing."""

import json
import math

import numpy as np
import pytest
from calm_ft.evaluation.estimate import estimate_over_sentences
from calm_ft.evaluation.judge import Judged, Recording, VoiceScores, judge
from calm_ft.evaluation.table import comparison_dict, comparison_table, comparison_text, explain, explain_demo

from calm_ft.metrics.distortion import mel_cepstral_distortion
from calm_ft.metrics.identification import VoiceReferences
from tests.metrics.espeak_speech import SAMPLE_RATE_HZ, SENTENCES, speak

NUM_SENTENCES = 6
TEXTS = SENTENCES[:NUM_SENTENCES]
VOICES = {voice: [speak(text, voice) for text in SENTENCES[12:20]] for voice in ("Annie", "f5", "klatt4", "m1")}


@pytest.fixture(scope="module")
def known() -> VoiceReferences:
    return VoiceReferences.from_clips(VOICES, SAMPLE_RATE_HZ)


@pytest.fixture(scope="module")
def references() -> list[Recording]:
    return [Recording(text, speak(text, "Annie")) for text in TEXTS]


def test_the_recordings_themselves_get_full_marks(references, known):
    scores = judge([Judged(item.text, item.audio) for item in references], references, known, "Annie", SAMPLE_RATE_HZ)
    assert scores.mcd_db.mean == 0
    assert scores.voice_id is not None
    assert scores.sentence_id.mean == scores.voice_id.mean == 1
    assert scores.duration_ratio.mean == 1
    assert (scores.num_clips, scores.num_candidates, scores.num_voices) == (NUM_SENTENCES, NUM_SENTENCES, 4)
    assert scores.num_silent == scores.num_not_ended == 0


def test_another_voice_says_the_sentences_but_is_not_the_voice(references):
    """Here `voices` is given as clips, not measured before."""
    clips = [Judged(text, speak(text, "klatt4")) for text in TEXTS]
    scores = judge(clips, references, VOICES, "Annie", SAMPLE_RATE_HZ)
    assert scores.sentence_id.mean >= 0.8
    assert scores.voice_id is not None
    assert scores.voice_id.mean == 0
    assert scores.mcd_db.mean > 4


def test_the_right_voice_with_wrong_words_is_told_apart(references, known):
    clips = [Judged(text, speak(said, "Annie")) for text, said in zip(TEXTS, SENTENCES[6:12], strict=True)]
    scores = judge(clips, references, known, "Annie", SAMPLE_RATE_HZ)
    assert scores.voice_id is not None
    assert scores.voice_id.mean == 1
    assert scores.sentence_id.mean <= 0.5


def test_means_and_standard_errors_equal_a_direct_computation(references, known):
    clips = [Judged(text, speak(text, "f5")) for text in TEXTS]
    scores = judge(clips, references, known, "Annie", SAMPLE_RATE_HZ)
    distortions = [
        mel_cepstral_distortion(item.audio, clip.audio, SAMPLE_RATE_HZ)
        for item, clip in zip(references, clips, strict=True)
    ]
    mean = sum(distortions) / NUM_SENTENCES
    variance = sum((value - mean) ** 2 for value in distortions) / (NUM_SENTENCES - 1)
    assert scores.mcd_db.mean == pytest.approx(mean)
    assert scores.mcd_db.standard_error == pytest.approx(math.sqrt(variance / NUM_SENTENCES))


def test_a_rates_standard_error_is_the_binomial_one():
    values = [1.0] * 18 + [0.0] * 6
    estimate = estimate_over_sentences([str(index) for index in range(24)], values)
    assert estimate.mean == 0.75
    assert estimate.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 23))


def test_copies_of_the_same_clips_do_not_shrink_the_standard_error():
    sentences, values = ["a", "b", "c"], [1.0, 2.0, 4.0]
    once = estimate_over_sentences(sentences, values)
    assert estimate_over_sentences(sentences * 5, values * 5) == once


def test_one_sentence_has_no_standard_error():
    estimate = estimate_over_sentences(["a", "a"], [1.0, 3.0])
    assert estimate.mean == 2
    assert math.isnan(estimate.standard_error)


def test_silent_empty_and_short_audio_is_counted_as_wrong_and_named(references, known):
    clips = [Judged(item.text, item.audio) for item in references]
    clips[0] = Judged(TEXTS[0], np.zeros(16_000, np.float32), ended=False)
    clips[1] = Judged(TEXTS[1], np.zeros(0, np.float32))
    clips[2] = Judged(TEXTS[2], np.full(4000, np.nan, np.float32))
    clips[3] = Judged(TEXTS[3], speak(TEXTS[3], "Annie")[16_000:16_160])
    scores = judge(clips, references, known, "Annie", SAMPLE_RATE_HZ)
    assert scores.silent_texts == TEXTS[:3]
    assert scores.not_ended_texts == (TEXTS[0],)
    assert scores.sentence_id.mean <= 0.5
    assert scores.voice_id is not None
    assert scores.voice_id.mean <= 0.5
    assert math.isfinite(scores.mcd_db.mean)


def test_a_system_that_is_silent_throughout_has_no_distortion(references, known):
    scores = judge([Judged(text, np.zeros(0)) for text in TEXTS], references, known, "Annie", SAMPLE_RATE_HZ)
    assert math.isnan(scores.mcd_db.mean)
    assert math.isnan(scores.duration_ratio.mean)
    assert scores.voice_id is not None
    assert scores.sentence_id.mean == scores.voice_id.mean == 0
    assert comparison_dict({"mute": scores})["scores"]["mute"]["mcd_db"]["mean"] is None  # type: ignore[index]


def test_wrong_input_is_refused_by_name(references, known):
    clip = Judged(TEXTS[0], speak(TEXTS[0], "f5"))
    with pytest.raises(ValueError, match="nothing to judge"):
        judge([], references, known, "Annie", SAMPLE_RATE_HZ)
    with pytest.raises(ValueError, match="'Bob' is not among"):
        judge([clip], references, known, "Bob", SAMPLE_RATE_HZ)
    with pytest.raises(ValueError, match=r"no recording says .*: 'Something else.'"):
        judge([Judged("Something else.", clip.audio)], references, known, "Annie", SAMPLE_RATE_HZ)
    with pytest.raises(ValueError, match="two recordings say the same"):
        judge([clip], [*references, references[0]], known, "Annie", SAMPLE_RATE_HZ)
    with pytest.raises(ValueError, match=r"silent: 'Nothing.'"):
        judge([clip], [*references, Recording("Nothing.", np.zeros(8000))], known, "Annie", SAMPLE_RATE_HZ)


@pytest.fixture(scope="module")
def columns(references, known) -> dict[str, VoiceScores]:
    return {
        voice: judge([Judged(text, speak(text, voice)) for text in TEXTS], references, known, "Annie", SAMPLE_RATE_HZ)
        for voice in ("f5", "Annie")
    }


def test_the_table_shows_each_figure_with_its_error(columns):
    text = comparison_text(columns, {"validation residual": {"f5": 29.8}}, title="Annie's voice")
    f5 = columns["f5"]
    assert f"{f5.mcd_db.mean:.2f} ± {f5.mcd_db.standard_error:.2f}" in text
    assert "1.00 ± 0.00" in text
    assert "29.800" in text
    assert "6 x 1" in text
    assert text.splitlines()[0].strip() == "Annie's voice"
    assert text.index("f5") < text.index("Annie\n")
    assert len(comparison_table(columns).columns) == 3


def test_the_comparison_survives_json(columns):
    plain = comparison_dict(columns, {"validation residual": {"f5": math.inf}})
    read = json.loads(json.dumps(plain, allow_nan=False))
    assert read["scores"]["f5"]["mcd_db"]["mean"] == columns["f5"].mcd_db.mean
    assert read["scores"]["f5"]["num_silent"] == 0
    assert read["extra"]["validation residual"]["f5"] is None


def test_the_explanation_names_the_limits():
    for limit in ("nobody listened", "speech recogniser", "pace", "listed sentences", "validation residual"):
        assert limit in " ".join(explain().split())
    assert "espeak-ng" in explain_demo()


def test_without_other_voices_the_voice_is_not_identified_and_its_row_is_left_out(references):
    clips = [Judged(item.text, item.audio) for item in references]
    scores = judge(clips, references, None, "Annie", SAMPLE_RATE_HZ)
    assert scores.voice_id is None
    assert scores.num_voices == 1
    assert scores.sentence_id.mean == 1
    text = comparison_text({"base": scores})
    assert "sentence identified" in text
    assert "voice identified" not in text
    assert json.loads(json.dumps(comparison_dict({"base": scores})))["scores"]["base"]["voice_id"] is None
