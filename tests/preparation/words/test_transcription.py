"""Which recogniser listens, what each hears, and how far a text is from what was heard."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm_ft.config import ASSETS
from calm_ft.errors import UserError
from calm_ft.metrics import hub
from calm_ft.preparation.words import transcription
from calm_ft.preparation.words.transcription import (
    MoonshineListener,
    PocketSphinxListener,
    choose_listener,
    mismatch,
    sizes_for_this_machine,
)
from tests.metrics.test_recognisers import converted, whisper  # noqa: F401 - fixtures
from tools.nano import espeak

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")

RATE_HZ = espeak.SAMPLE_RATE_HZ
TEXT = "She sells sea shells by the sea shore every morning."
PROMPTS = Path("/usr/share/asterisk/sounds/en")


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_hub_answers", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def speech():
    return espeak.synthesize(TEXT, espeak.EspeakVoice("f2", "f2", rate_wpm=140))


def listener_for(name, language):
    found = choose_listener(name, language)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sphinx():
    return listener_for("pocketsphinx", "en")


def test_none_is_no_recogniser():
    assert choose_listener("none", "en") is None


@pytest.fixture(scope="module")
def moonshine():
    pytest.importorskip("moonshine_voice")
    return listener_for("moonshine", "en")


def test_without_a_download_english_is_heard_by_moonshine_else_by_pocketsphinx_and_other_languages_by_none(
    no_hub, moonshine, monkeypatch
):
    assert isinstance(choose_listener("auto", "en"), MoonshineListener)
    assert choose_listener("auto", "fr") is None
    assert choose_listener("auto", None) is None
    monkeypatch.setitem(sys.modules, "moonshine_voice", None)  # as where it is not installed
    assert isinstance(choose_listener("auto", "en"), PocketSphinxListener)


@pytest.mark.parametrize(
    ("name", "language", "message"),
    [
        ("faster-whisper:small", "en", r"small is not in the local cache .* or choose another recogniser: .*FOLDER"),
        ("faster-whisper:smal", "en", r"no model 'smal': name one of .*; or choose another"),
        (
            "pocketsphinx",
            "fr",
            r"PocketSphinx's .* English alone, and the language is 'fr': choose faster-whisper:SIZE",
        ),
        ("moonshine", "fr", r"Moonshine's .* English alone, .* is 'fr': choose faster-whisper:SIZE"),
        ("whisperx", "en", r"no recogniser 'whisperx': choose auto"),
    ],
)
def test_a_recogniser_that_cannot_be_had_is_said_with_the_way_out(no_hub, name, language, message):
    with pytest.raises(UserError, match=message):
        choose_listener(name, language)


@pytest.mark.parametrize(
    ("has_gpu", "num_cores", "first"), [(True, 4, "large-v3-turbo"), (False, 16, "small"), (False, 2, "base")]
)
def test_the_size_follows_the_machine(monkeypatch, has_gpu, num_cores, first):
    monkeypatch.setattr(transcription, "_has_gpu", lambda: has_gpu)
    monkeypatch.setattr("os.cpu_count", lambda: num_cores)

    sizes = list(sizes_for_this_machine("de"))

    assert sizes[0] == first
    assert sorted(sizes) == sorted(("tiny", "base", "small", "medium", "large-v3-turbo"))
    assert "large" in first or next(sizes_for_this_machine("en")) == f"{first}.en"


def test_heard_words_lie_in_order_within_the_sound_and_have_confidences(sphinx, speech):
    found = sphinx.listen(speech, RATE_HZ)

    assert found.language == "en"
    assert len(found.words) >= 5
    assert all(0.0 <= word.confidence <= 1.0 for word in found.words)
    times = [time for word in found.words for time in (word.start_sec, word.end_sec)]
    assert times == sorted(times)
    assert 0.0 <= times[0] < times[-1] <= len(speech) / RATE_HZ
    assert not any(sign in found.text for sign in "<>[]()")


@pytest.mark.parametrize("name", ["sphinx", "moonshine"])
def test_the_same_is_heard_again_whatever_was_heard_between(request, name, speech):
    listener = request.getfixturevalue(name)
    first = listener.listen(speech, RATE_HZ)
    listener.listen(np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32), RATE_HZ)

    assert listener.listen(speech, RATE_HZ) == first


def test_moonshine_hears_all_words_also_of_sound_longer_than_it_takes_at_once(moonshine):
    pytest.importorskip("silero_vad")
    clips = [ASSETS / "demo_voice" / "train" / f"{number:03}.ogg" for number in (1, 3)]
    (first, rate_hz), (second, _) = (soundfile.read(each, dtype="float32") for each in clips)
    pause = np.zeros(round(19 * rate_hz), np.float32)

    found = moonshine.listen(np.concatenate([first, pause, second]), rate_hz)

    assert mismatch(" ".join(each.with_suffix(".txt").read_text() for each in clips), found.text) <= 0.2
    assert found.words == ()


def test_long_sound_is_heard_to_its_end(sphinx, speech):
    pytest.importorskip("silero_vad")
    pause = np.zeros(round(19 * RATE_HZ), np.float32)

    words = sphinx.listen(np.concatenate([speech, pause, speech]), RATE_HZ).words

    after_sec = len(speech) / RATE_HZ + 18.8
    assert sum(word.start_sec >= after_sec for word in words) >= 5
    assert sum(word.start_sec < after_sec for word in words) >= 5


def test_silence_has_no_words(sphinx, moonshine, converted):  # noqa: F811
    silence = np.zeros(RATE_HZ, np.float32)

    assert moonshine.listen(silence, RATE_HZ).text == ""
    assert sphinx.listen(silence, RATE_HZ).words == ()
    assert listener_for(f"faster-whisper:{converted}", None).listen(silence, RATE_HZ).words == ()


def test_a_converted_whisper_hears_words_with_times_and_finds_the_language_out(converted, speech):  # noqa: F811
    listener = listener_for(f"faster-whisper:{converted}", None)

    found = listener.listen(speech, RATE_HZ)

    assert listener.is_judge
    assert listener_for(listener.name, None).listen(speech, RATE_HZ) == found
    assert found.language in ("en", "de")
    assert all(0.0 <= word.start_sec <= word.end_sec and word.word == word.word.strip() for word in found.words)


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the package asterisk-core-sounds-en-wav is not installed")
@pytest.mark.parametrize(("name", "wrong"), [("sphinx", 0.4), ("moonshine", 0.0)])
def test_most_of_a_persons_plain_prompt_is_heard(request, name, wrong):
    samples, rate_hz = soundfile.read(PROMPTS / "agent-pass.wav", dtype="float32")
    heard = request.getfixturevalue(name).listen(samples, rate_hz).text

    assert mismatch("Please enter your password followed by the pound key.", heard) <= wrong


@pytest.mark.parametrize(
    ("given", "heard", "wrong"),
    [
        ("Press 5, please!", "press five please", 0.0),
        ("one two three four", "one two tree four", 0.25),
        ("one two", "nine words that have nothing at all to do", 1.0),
        ("one two", "", 1.0),
        ("...", "", 0.0),
        ("...", "hello", 1.0),
    ],
)
def test_a_mismatch_is_the_share_of_words_that_were_not_heard(given, heard, wrong):
    assert mismatch(given, heard) == pytest.approx(wrong)


def test_a_mismatch_is_that_of_the_language():
    assert mismatch("Es kostet 3,50 €.", "es kostet drei euro und fünfzig cent", "de") == 0.0
