"""What metrics and evaluations are tested on: tones with known answers, the demo voice, and espeak-ng's voices."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import soundfile

from calm_ft.metrics import hub
from calm_ft.metrics.base import Given, Metric, NotMeasured, SpeechClip
from tests.conftest import DEMO_TRAIN
from tools.nano import espeak

RATE_HZ = 24_000  # of tones; espeak-ng speaks at another
SAMPLE_RATE_HZ = espeak.SAMPLE_RATE_HZ


def voiced(f0_hz: float, duration_sec: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Twenty harmonics [T] whose amplitudes fall and change over time as a vowel's do."""
    time_sec = np.arange(round(duration_sec * rate_hz)) / rate_hz
    tone = sum(np.cos(2 * np.pi * k * f0_hz * time_sec) / k for k in range(1, 21))
    return 0.1 * np.asarray(tone) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time_sec))


@functools.cache
def recording(index: int = 0) -> tuple[str, np.ndarray, int]:
    """A text, its recording [T] by the demo voice, and the rate."""
    path = sorted(DEMO_TRAIN.glob("*.ogg"))[index]
    audio, rate_hz = soundfile.read(path)
    return path.with_suffix(".txt").read_text(encoding="utf-8").strip(), audio, rate_hz


def clip(index: int = 0, gain: float = 1.0, noise: float = 0.0) -> SpeechClip:
    """A recording against itself, with white noise of this standard deviation."""
    text, audio, rate_hz = recording(index)
    hiss = noise * np.random.default_rng(0).standard_normal(audio.size)
    return SpeechClip(np.clip(gain * audio + hiss, -1, 1), rate_hz, text, audio)


VOICES = ("Annie", "f5", "klatt4", "m1", "m3", "m7", "f1", "f2", "croak", "Michael", "Alicia")
SENTENCES = (
    "The harbour lights came on before the rain.",
    "She folded the letter and put it in her coat.",
    "Nobody remembered who had planted the old tree.",
    "A narrow road leads down to the mill.",
    "They waited two hours for the morning train.",
    "The baker opens his shop long before sunrise.",
    "My brother keeps three bees in a jar.",
    "Cold water ran over the smooth grey stones.",
    "We heard the piano from across the street.",
    "The doctor wrote a few words and left.",
    "Every window on that side was broken.",
    "He sold his boat and bought a horse.",
    "The children built a castle out of snow.",
    "An owl called twice from the dark barn.",
    "Please carry these boxes up to the attic.",
    "The river is too wide to swim across.",
    "Her voice was calm but her hands were not.",
    "Fresh bread and butter lay on the table.",
    "The map shows a village that is gone.",
    "I think the garden looks better in autumn.",
    "Five soldiers rode slowly through the gate.",
    "The teacher closed the book with a sigh.",
    "Someone has painted the fence bright yellow.",
    "Let us walk home along the canal.",
)


@functools.cache
def speak(text: str, voice: str) -> np.ndarray:
    """The text spoken by one espeak-ng variant, [T] at SAMPLE_RATE_HZ."""
    return espeak.synthesize(text, espeak.EspeakVoice(voice, variant=voice))


class Hears:
    """A recogniser that always hears the same."""

    def __init__(self, heard: str) -> None:
        self.name, self.heard = f"hears {heard}", heard

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        return self.heard


def number(metric: Metric, of: SpeechClip, name: str) -> float:
    """A figure of a clip, which must have been measured."""
    value = metric.measure(of)[name]
    assert not isinstance(value, NotMeasured)
    return value


def given(
    prompt: np.ndarray | None = None,
    other_voices: Mapping[str, Sequence[np.ndarray]] | None = None,
    recogniser: object = "none",
    language: str = "en",
) -> Given:
    """An evaluation of two of the demo voice's sentences."""
    recordings = {recording(index)[0]: recording(index)[1] for index in range(2)}
    return Given(
        recording()[2], recordings, prompt, other_voices=other_voices or {}, recogniser=recogniser, language=language
    )


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_hub_answers", lambda: False)
