"""Real recordings for the tests: two dozen sentences spoken by eleven espeak-ng voices."""

import functools

import numpy as np

from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize

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

__all__ = ["SAMPLE_RATE_HZ", "SENTENCES", "VOICES", "speak"]


@functools.cache
def speak(text: str, voice: str) -> np.ndarray:
    """The text spoken by one espeak-ng variant, [T] at SAMPLE_RATE_HZ."""
    return synthesize(text, EspeakVoice(voice, variant=voice))
