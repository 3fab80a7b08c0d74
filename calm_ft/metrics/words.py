"""Word and character error rates of what a speech recogniser hears.

Text and transcript pass the English normaliser that Whisper was evaluated with (numbers, contractions, British and
American spellings, punctuation), then `WER = (S + D + I) / N` by jiwer over words, CER over characters. Both may
exceed 1: a runaway clip inserts words without end, hence medians beside means wherever they are averaged. The
recogniser's own errors are in both; those on the true recordings show how many. Other languages than English pass
Whisper's basic normaliser, which takes out case and punctuation and leaves words and accents as they are: the English
one would delete the German "um" and rewrite prices.
Source of the normaliser: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), app. C.
"""

from collections.abc import Callable
from functools import cache
from typing import Self

from calm_ft.metrics.audio_io import is_silent
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, ModelMissing, NotMeasured, SpeechClip
from calm_ft.metrics.recognisers import Transcriber, load_transcriber

WORD_FIGURES = (
    Figure("wer", "rate", "lower", "words wrong", trusted=0.3),
    Figure("cer", "rate", "lower", "characters wrong", trusted=0.2),
)


class WordErrors(Metric):
    """WER and CER by one recogniser; silence is an empty transcript, and so a rate of 1."""

    figures = WORD_FIGURES
    needs_speech = False

    def __init__(self, transcriber: Transcriber, language: str = "en") -> None:
        """Raises ModelMissing where jiwer or the normaliser is not installed."""
        normaliser(language)
        self.transcriber, self.language = transcriber, language
        self.identity = f"words-2 {transcriber.name} {language}"

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls(load_transcriber(given.recogniser, given.language), given.language)

    def _measure(self, clip: SpeechClip) -> Measurement:
        silent = is_silent(clip.audio, clip.sample_rate_hz)
        heard = "" if silent else self.transcriber.transcribe(clip.audio, clip.sample_rate_hz)
        return error_rates(clip.text, heard, self.language)


def error_rates(text: str, heard: str, language: str = "en") -> dict[str, float | NotMeasured]:
    """WER and CER of a transcript against the text, both normalised; not measured for a text without a word."""
    import jiwer

    normalise = normaliser(language)
    reference, hypothesis = normalise(text).strip(), normalise(heard).strip()
    if not reference:
        reason = NotMeasured("the text holds no word")
        return {"wer": reason, "cer": reason}
    return {"wer": jiwer.wer(reference, hypothesis), "cer": jiwer.cer(reference, hypothesis)}


@cache
def normaliser(language: str) -> Callable[[str], str]:
    """Whisper's normaliser of texts for a language (ISO 639-1).

    Raises ModelMissing where it or jiwer is not installed.
    """
    try:
        import jiwer  # noqa: F401 - error_rates needs it
        from whisper_normalizer.basic import BasicTextNormalizer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `evaluation`.") from error
    chosen: Callable[[str], str] = EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
    return chosen
