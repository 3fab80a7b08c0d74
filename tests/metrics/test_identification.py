"""Which sentence and whose voice, on real recordings: their ceilings, which a synthesis cannot pass."""

import librosa
import numpy as np
import pytest
import scipy.ndimage

from calm_ft.metrics.base import ModelMissing, NotMeasured, SpeechClip
from calm_ft.metrics.distortion import NUM_CEPSTRA, mel_cepstra
from calm_ft.metrics.identification import (
    NUM_STATISTICS,
    SentenceIdentified,
    VoiceIdentified,
    VoiceReferences,
    identify_sentence,
    voice_statistics,
    yin,
)
from calm_ft.report.picture import spectrogram_pixels
from tests.metrics.conftest import SAMPLE_RATE_HZ, SENTENCES, VOICES, given, number, speak


@pytest.fixture(scope="module")
def voices() -> VoiceReferences:
    clips = {voice: [speak(text, voice) for text in SENTENCES[:12]] for voice in VOICES}
    return VoiceReferences.from_clips(clips, SAMPLE_RATE_HZ)


@pytest.mark.parametrize("voice", ["f5", "klatt4", "m7"])
def test_other_voices_sentences_are_nearest_to_the_same_sentence(voice):
    candidates = [mel_cepstra(speak(text, "Annie"), SAMPLE_RATE_HZ) for text in SENTENCES]
    spoken = [mel_cepstra(speak(text, voice), SAMPLE_RATE_HZ) for text in SENTENCES]
    right = [identify_sentence(cepstra, candidates) == index for index, cepstra in enumerate(spoken)]
    assert np.mean(right) >= 0.9  # chance is 0.04


def test_a_constant_difference_of_spectrum_does_not_change_the_sentence():
    candidates = [mel_cepstra(speak(text, "Annie"), SAMPLE_RATE_HZ) for text in SENTENCES[:6]]
    coloured = candidates[3] + np.linspace(-2, 2, NUM_CEPSTRA)
    assert identify_sentence(coloured, candidates) == 3


def test_noise_is_no_sentence():
    candidates = [mel_cepstra(speak(text, "Annie"), SAMPLE_RATE_HZ) for text in SENTENCES]
    rng = np.random.default_rng(0)
    noise = [mel_cepstra(0.1 * rng.standard_normal(32_000), SAMPLE_RATE_HZ) for _ in range(24)]
    right = [identify_sentence(cepstra, candidates) == index for index, cepstra in enumerate(noise)]
    assert np.mean(right) <= 0.25


def test_a_silent_clip_and_a_missing_list_are_refused():
    cepstra = mel_cepstra(speak(SENTENCES[0], "Annie"), SAMPLE_RATE_HZ)
    with pytest.raises(ValueError, match="silent"):
        identify_sentence(np.zeros((0, NUM_CEPSTRA)), [cepstra])
    with pytest.raises(ValueError, match="candidate"):
        identify_sentence(cepstra, [])


@pytest.mark.slow
def test_held_out_recordings_are_identified_as_their_voice(voices):
    right = [
        voices.identify(speak(text, voice), SAMPLE_RATE_HZ) == voice for voice in VOICES for text in SENTENCES[12:]
    ]
    assert np.mean(right) >= 0.97  # chance is 0.09


def test_voice_statistics_ignore_gain_and_silence_at_the_ends():
    clip = speak(SENTENCES[0], "f1")
    statistics = voice_statistics(clip, SAMPLE_RATE_HZ)
    assert statistics is not None
    assert statistics.shape == (NUM_STATISTICS,)
    other = voice_statistics(0.3 * np.pad(clip, (777, 3000)), SAMPLE_RATE_HZ)
    assert other is not None
    np.testing.assert_allclose(statistics, other, atol=1e-3)


def test_median_pitch_is_that_of_a_known_tone():
    """A 200 Hz sawtooth lies an octave, 12 semitones, above 100 Hz and has no spread."""
    time_sec = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    statistics = voice_statistics(0.3 * (2 * (200 * time_sec % 1) - 1), SAMPLE_RATE_HZ)
    assert statistics is not None
    assert statistics[-2] == pytest.approx(12, abs=0.1)
    assert statistics[-1] < 0.1


def test_silence_has_no_voice(voices):
    assert voices.identify(np.zeros(16_000), SAMPLE_RATE_HZ) is None
    assert voices.identify(np.zeros(0), SAMPLE_RATE_HZ) is None
    assert voices.identify(speak(SENTENCES[0], "m1")[16_000:16_160], SAMPLE_RATE_HZ) in VOICES


def test_too_few_voices_or_clips_are_refused():
    clip = speak(SENTENCES[0], "m1")
    with pytest.raises(ValueError, match="two voices"):
        VoiceReferences.from_clips({"m1": [clip, clip]}, SAMPLE_RATE_HZ)
    with pytest.raises(ValueError, match="'f1' needs at least two clips"):
        VoiceReferences.from_clips({"m1": [clip, clip], "f1": [clip, np.zeros(8000)]}, SAMPLE_RATE_HZ)


@pytest.mark.slow
def test_a_copy_that_is_smoothed_over_time_keeps_its_voice(voices):
    """As a codec does it: the copy has the same spectrum on the average but moves less."""
    right = []
    for text in SENTENCES[12:18]:
        clip = speak(text, "Annie")
        spectrum = librosa.stft(clip, n_fft=512, hop_length=128)
        smooth = scipy.ndimage.uniform_filter1d(np.abs(spectrum), 9, axis=1)
        copy = librosa.istft(smooth * np.exp(1j * np.angle(spectrum)), hop_length=128)
        right.append(voices.identify(copy, SAMPLE_RATE_HZ) == "Annie")
    assert np.mean(right) >= 0.8


SAID = SENTENCES[:6]
OTHERS = ("Annie", "f5", "klatt4", "m1")


@pytest.fixture(scope="module")
def sentence() -> SentenceIdentified:
    return SentenceIdentified({text: speak(text, "Annie") for text in SAID}, SAMPLE_RATE_HZ)


@pytest.fixture(scope="module")
def voice() -> VoiceIdentified:
    clips = {name: [speak(text, name) for text in SENTENCES[12:20]] for name in OTHERS}
    return VoiceIdentified(VoiceReferences.from_clips(clips, SAMPLE_RATE_HZ), "Annie")


@pytest.mark.parametrize(
    ("speaker", "said", "right_sentences", "right_voices"),
    [
        ("Annie", SAID, (1.0, 1.0), (1.0, 1.0)),
        ("klatt4", SAID, (0.8, 1.0), (0.0, 0.0)),
        ("Annie", SENTENCES[6:12], (0.0, 0.5), (1.0, 1.0)),
    ],
    ids=["the recordings", "another voice", "other words"],
)
def test_the_right_words_and_the_right_voice_are_two_questions(
    sentence: SentenceIdentified,
    voice: VoiceIdentified,
    speaker: str,
    said: tuple[str, ...],
    right_sentences: tuple[float, float],
    right_voices: tuple[float, float],
):
    clips = [SpeechClip(speak(words, speaker), SAMPLE_RATE_HZ, text) for text, words in zip(SAID, said, strict=True)]
    for metric, name, (low, high) in (
        (sentence, "sentence_identified", right_sentences),
        (voice, "voice_identified", right_voices),
    ):
        assert low <= np.mean([number(metric, clip, name) for clip in clips]) <= high


def test_silence_says_no_sentence_and_is_nobodys_voice(sentence: SentenceIdentified, voice: VoiceIdentified):
    silent = SpeechClip(np.full(16_000, np.nan), SAMPLE_RATE_HZ, SAID[0])
    assert sentence.measure(silent) == {"sentence_identified": 0.0}
    assert voice.measure(silent) == {"voice_identified": 0.0}


def test_a_sentence_cannot_be_identified_without_its_recording_or_without_another(sentence: SentenceIdentified):
    alone = SentenceIdentified({SAID[0]: speak(SAID[0], "Annie")}, SAMPLE_RATE_HZ)
    for metric, text in ((sentence, "Something else."), (alone, SAID[0])):
        measured = metric.measure(SpeechClip(speak(SAID[0], "Annie"), SAMPLE_RATE_HZ, text))
        assert isinstance(measured["sentence_identified"], NotMeasured)


def test_the_voice_that_should_be_heard_can_be_another_of_those_that_are_known(voice: VoiceIdentified):
    prompt = speak(SENTENCES[12], "klatt4")
    other = voice.for_voice("klatt4", prompt, SAMPLE_RATE_HZ)
    assert other is not None
    for name, right in (("klatt4", 1.0), ("Annie", 0.0)):
        assert number(other, SpeechClip(speak(SAID[0], name), SAMPLE_RATE_HZ, SAID[0]), "voice_identified") == right
    assert voice.for_voice("Bob", prompt, SAMPLE_RATE_HZ) is None


@pytest.mark.parametrize(
    ("names", "num_clips", "reason"),
    [
        ([], 3, "set evaluation.base_voices"),
        (["tuned voice"], 3, "set evaluation.base_voices"),
        (["Annie", "f5"], 3, "set evaluation.base_voices"),  # the voice that clips should be in is not among them
        (["tuned voice", "f5"], 1, "cannot be told apart: voice 'tuned voice' needs at least two clips"),
    ],
)
def test_without_other_voices_the_voice_is_missing_with_the_reason(names: list[str], num_clips: int, reason: str):
    clips = {name: [speak(text, "f5") for text in SENTENCES[:num_clips]] for name in names}
    with pytest.raises(ModelMissing, match=reason):
        VoiceIdentified.build(given(other_voices=clips))


def test_scores_are_kept_apart_by_the_list_of_sentences_and_by_voices(voice: VoiceIdentified):
    two, other = ({text: speak(text, "Annie") for text in texts} for texts in (SAID[:2], SAID[1:3]))
    assert SentenceIdentified(two, SAMPLE_RATE_HZ).identity == SentenceIdentified(two, SAMPLE_RATE_HZ).identity
    assert SentenceIdentified(two, SAMPLE_RATE_HZ).identity != SentenceIdentified(other, SAMPLE_RATE_HZ).identity
    klatt4 = voice.for_voice("klatt4", speak(SAID[0], "klatt4"), SAMPLE_RATE_HZ)
    assert klatt4 is not None
    assert klatt4.identity != voice.identity


@pytest.mark.parametrize("f0_hz", [80.0, 110.0, 187.3, 320.0, 450.0])
def test_the_pitch_of_a_harmonic_tone_is_its_fundamental(f0_hz):
    time_sec = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = sum(np.sin(2 * np.pi * f0_hz * k * time_sec) / k for k in range(1, 8))
    inner = yin(tone, SAMPLE_RATE_HZ, round(0.064 * SAMPLE_RATE_HZ), 160)[10:-10]
    np.testing.assert_allclose(inner, f0_hz, rtol=5e-3)


def test_a_gliding_pitch_is_followed():
    time_sec = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    glide = np.sin(2 * np.pi * (100 * time_sec + 25 * np.square(time_sec)))  # 100 Hz, 50 Hz more each second
    inner = yin(glide, SAMPLE_RATE_HZ, round(0.064 * SAMPLE_RATE_HZ), 160)[20:-20]
    expected = 100 + 50 * np.arange(len(inner) + 40)[20:-20] * 160 / SAMPLE_RATE_HZ
    np.testing.assert_allclose(inner, expected, rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("voice", VOICES[:3])
def test_the_pitch_of_speech_is_an_autocorrelation_peak(voice):
    """A second way to F0: the loudest frame's autocorrelation has a peak at the period."""
    clip = np.asarray(speak(SENTENCES[0], voice), dtype=np.float64)
    window = round(0.064 * SAMPLE_RATE_HZ)
    loudest = int(np.argmax(np.convolve(np.square(clip), np.ones(window), mode="valid")))
    frame = clip[loudest : loudest + window]
    correlation = np.correlate(frame, frame, mode="full")[window - 1 :]
    f0_hz = yin(clip, SAMPLE_RATE_HZ, window, 1)[loudest + window // 2]
    period = round(SAMPLE_RATE_HZ / f0_hz)
    nearby = correlation[period - 6 : period + 7]
    assert abs(int(nearby.argmax()) - 6) <= 3
    assert nearby.max() > 0.5 * correlation[0]


def test_no_figure_calls_a_compiled_loop_that_processes_can_spoil_for_each_other(monkeypatch):
    """numba keeps a generalized ufunc in two files that may come from two processes; its call then ends the process."""

    def spoilt(*_, **__):
        raise AssertionError("a generalized ufunc of numba was called")

    monkeypatch.setattr("numba.np.ufunc.gufunc.GUFunc.__call__", spoilt)
    clip = speak(SENTENCES[0], "Annie")
    assert voice_statistics(clip, SAMPLE_RATE_HZ) is not None
    cepstra = mel_cepstra(clip, SAMPLE_RATE_HZ)
    assert identify_sentence(cepstra, [cepstra]) == 0
    assert spectrogram_pixels(clip, SAMPLE_RATE_HZ).size
