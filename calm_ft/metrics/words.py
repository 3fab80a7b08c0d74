"""Word and character error rates of what a speech recogniser hears.

Text and transcript pass the English normaliser that Whisper was evaluated with (numbers, contractions, British and
American spellings, punctuation), then `WER = (S + D + I) / N` by jiwer over words, CER over characters. Both may
exceed 1: a runaway clip inserts words without end, hence medians beside means wherever they are averaged. The
recogniser's own errors are in both; those on the true recordings show how many. The normaliser is for English: other
languages keep its lower case and lose their accents.
Source of the normaliser: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), app. C.
"""

from functools import cache
from typing import Any, Protocol

import numpy as np

from calm_ft.metrics.audio_io import is_silent
from calm_ft.metrics.base import Clip, Figure, Measurement, Metric, ModelMissing, NotMeasured

WORD_FIGURES = (Figure("wer", "rate", "lower"), Figure("cer", "rate", "lower"))


class Transcriber(Protocol):
    """A speech recogniser; `name` says which one, with its version where that matters."""

    name: str

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]."""


class WordErrors(Metric):
    """WER and CER by one recogniser; silence is an empty transcript, and so a rate of 1."""

    figures = WORD_FIGURES
    needs_speech = False

    def __init__(self, transcriber: Transcriber) -> None:
        """Raises ModelMissing where jiwer or the normaliser is not installed."""
        _libraries()
        self.transcriber = transcriber
        self.identity = f"words-1 {transcriber.name}"

    def _measure(self, clip: Clip) -> Measurement:
        silent = is_silent(clip.audio, clip.sample_rate_hz)
        heard = "" if silent else self.transcriber.transcribe(clip.audio, clip.sample_rate_hz)
        return error_rates(clip.text, heard)


def error_rates(text: str, heard: str) -> dict[str, float | NotMeasured]:
    """WER and CER of a transcript against the text, both normalised; not measured for a text without a word."""
    jiwer, normalise = _libraries()
    reference, hypothesis = normalise(text).strip(), normalise(heard).strip()
    if not reference:
        reason = NotMeasured("the text holds no word")
        return {"wer": reason, "cer": reason}
    return {"wer": jiwer.wer(reference, hypothesis), "cer": jiwer.cer(reference, hypothesis)}


@cache
def _libraries() -> tuple[Any, Any]:
    try:
        import jiwer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `evaluation`.") from error
    return jiwer, EnglishTextNormalizer()
