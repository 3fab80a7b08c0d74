"""Texts for recordings that have none: which recogniser listens, and what it heard, word by word.

Whisper (Radford et al. 2022) by faster-whisper where a model can be had. Where none can, and the language is English,
Moonshine, whose tiny model comes in its wheel: on telephone prompts every twelfth word is wrong (docs/results.md).
Without that too, PocketSphinx. It is weak: on the same prompts two of three words are wrong, so that its texts are a
draft to correct or to find clips by, never to be trained on unread.
"""

import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate, is_silent
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.recognisers import MOONSHINE_ASR, PREFIX, FasterWhisperTranscriber, MoonshineTranscriber
from calm_ft.preparation.clips import HeardWord
from calm_ft.preparation.sound.voice_activity import clip_spans, speech_spans
from calm_ft.preparation.words.text import spoken_form

Sound = NDArray[np.floating[Any]]

AUTO, NONE, MOONSHINE, POCKETSPHINX = "auto", "none", MOONSHINE_ASR, "pocketsphinx"
FRAME_SEC = 0.01
_LONGEST_SEC = 20.0
_SIZES = ("tiny", "base", "small", "medium", "large-v3-turbo")
_MANY_CORES = 8
_WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "km")


@dataclass(frozen=True)
class Transcript:
    """What was said and in which language (ISO 639-1); its words in order with their times, where those are told."""

    text: str
    language: str | None
    words: tuple[HeardWord, ...] = ()

    @classmethod
    def of(cls, words: Iterable[HeardWord], language: str | None) -> "Transcript":
        """That of words with times in seconds from the start of the sound."""
        known = tuple(words)
        return cls(" ".join(word.word for word in known), language, known)


SILENCE = Transcript("", None)


class Listener(Protocol):
    """A speech recogniser.

    Attributes:
        name: what `choose_listener` takes to make the same one again.
        is_judge: whether a given text of which it hears other words is probably wrong, even a short one.
    """

    name: str
    is_judge: bool

    def in_language(self, language: str | None) -> "Listener":
        """The same model, told which language it hears (None: it is to find out)."""

    def listen(self, samples: Sound, sample_rate_hz: int) -> Transcript:
        """What is said in mono sound [T] of any length."""


def choose_listener(name: str, language: str | None) -> Listener | None:
    """The recogniser of that name, for a language (ISO 639-1) or one that it is to find out (None).

    Args:
        name: "auto", "none", "moonshine", "pocketsphinx", or "faster-whisper:" with one of its sizes, a repository or
            a folder. "auto" is faster-whisper in the size that suits this machine or the nearest one that can be had,
            else Moonshine or PocketSphinx where the language is English, else none.
        language: None makes Whisper find out; "auto" then chooses no recogniser that knows English alone.

    Raises UserError where the one that was named cannot be had, or does not know the language.
    """
    if name == NONE:
        return None
    if name == AUTO:
        return _automatic(language)
    try:
        if name in _ENGLISH:
            return _ENGLISH[name](language)
        if name.startswith(PREFIX):
            return WhisperListener(name, language)
    except ModelMissing as missing:
        raise UserError(
            f"{str(missing).rstrip('.')}; or choose another recogniser: {PREFIX}FOLDER with a converted Whisper, "
            f"{MOONSHINE} (English alone), {POCKETSPHINX} (English alone, and weak) or {NONE}."
        ) from missing
    known = f"{AUTO}, {PREFIX}SIZE, {MOONSHINE}, {POCKETSPHINX} or {NONE}"
    raise UserError(f"There is no recogniser {name!r}: choose {known}.")


def _automatic(language: str | None) -> Listener | None:
    for size in sizes_for_this_machine(language):
        try:
            return WhisperListener(f"{PREFIX}{size}", language)
        except ModelMissing:
            continue
    for make in _ENGLISH.values() if language == "en" else ():
        try:
            return make(language)
        except ModelMissing:
            continue
    return None


def sizes_for_this_machine(language: str | None) -> Iterator[str]:
    """Whisper's sizes, the best for this machine first, then smaller and larger ones that may be in the cache."""
    best = len(_SIZES) - 1 if _has_gpu() else _SIZES.index("small" if (os.cpu_count() or 1) >= _MANY_CORES else "base")
    for size in (*_SIZES[best::-1], *_SIZES[best + 1 :]):
        if language == "en" and not size.startswith("large"):
            yield f"{size}.en"
        yield size


def _has_gpu() -> bool:
    """Whether CTranslate2 can use one."""
    try:
        import ctranslate2
    except ImportError:
        return False
    return bool(ctranslate2.get_cuda_device_count())


class WhisperListener:
    """Whisper by faster-whisper; `name` begins with "faster-whisper:"."""

    is_judge = True

    def __init__(self, name: str, language: str | None) -> None:
        """Raises ModelMissing where the package or the model cannot be had."""
        self.name = name
        device = "cuda" if _has_gpu() else "cpu"
        self._whisper = FasterWhisperTranscriber(name.removeprefix(PREFIX), language, device)

    def in_language(self, language: str | None) -> "WhisperListener":
        other = copy.copy(self)
        other._whisper = self._whisper.in_language(language)
        return other

    def listen(self, samples: Sound, sample_rate_hz: int) -> Transcript:
        if is_silent(samples, sample_rate_hz):  # Whisper makes up words for silence
            return SILENCE
        heard, language = self._whisper.timed_words(samples, sample_rate_hz)
        words = (HeardWord(word.word.strip(), word.start_sec, word.end_sec, word.probability) for word in heard)
        return Transcript.of((word for word in words if word.word), language)


class MoonshineListener:
    """Moonshine's tiny English model, which tells no times; sound longer than 20 s is heard in parts, cut in pauses."""

    name = MOONSHINE
    is_judge = False

    def __init__(self, language: str | None = "en") -> None:
        """Raises UserError for another language than English, ModelMissing where it cannot be had."""
        _check_english("Moonshine", language)
        self._moonshine = MoonshineTranscriber()

    def in_language(self, language: str | None) -> "MoonshineListener":
        """Raises UserError for another language than English."""
        _check_english("Moonshine", language)
        return self

    def listen(self, samples: Sound, sample_rate_hz: int) -> Transcript:
        if is_silent(samples, sample_rate_hz):
            return SILENCE
        parts = parts_of(at_model_rate(samples, sample_rate_hz))
        heard = (self._moonshine.transcribe(part, MODEL_RATE_HZ) for _, part in parts)
        return Transcript(" ".join(text for text in heard if text), "en")


class PocketSphinxListener:
    """PocketSphinx with the English model of its wheel; sound longer than 20 s is heard in parts, cut in pauses."""

    name = POCKETSPHINX
    is_judge = False

    def __init__(self, language: str | None = "en") -> None:
        """Raises UserError for another language than English, ModelMissing without the package."""
        _check_english("PocketSphinx", language)
        self._decoder = pocketsphinx_decoder()

    def in_language(self, language: str | None) -> "PocketSphinxListener":
        """Raises UserError for another language than English."""
        _check_english("PocketSphinx", language)
        return self

    def listen(self, samples: Sound, sample_rate_hz: int) -> Transcript:
        if is_silent(samples, sample_rate_hz):
            return SILENCE
        words = []
        for start_sec, part in parts_of(at_model_rate(samples, sample_rate_hz)):
            words += decoded_words(self._decoder, part, start_sec)
        return Transcript.of(words, "en")


def _check_english(name: str, language: str | None) -> None:
    if language not in ("en", None):
        raise UserError(f"{name}'s model knows English alone, and the language is {language!r}: choose {PREFIX}SIZE.")


_ENGLISH: dict[str, Callable[[str | None], Listener]] = {
    MOONSHINE: MoonshineListener,
    POCKETSPHINX: PocketSphinxListener,
}
"""Recognisers that know English alone and come with their package, the better one first."""


def knows_english_alone(name: str) -> bool:
    """Whether the recogniser of that name can be asked for English alone."""
    return name in _ENGLISH or name.endswith(".en")


def pocketsphinx_decoder(**settings: Any) -> Any:
    """A decoder that treats each utterance alike, whatever came before it. Raises ModelMissing without the package."""
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    return Decoder(samprate=MODEL_RATE_HZ, loglevel="FATAL", cmn="batch", **settings)


def parts_of(samples: NDArray[np.float32]) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Sound [T] at 16 kHz in parts of at most about 20 s, cut in pauses, each with its start in seconds."""
    if samples.size <= _LONGEST_SEC * MODEL_RATE_HZ:
        yield 0.0, samples
        return
    for span in clip_spans(samples, MODEL_RATE_HZ, speech_spans(samples, MODEL_RATE_HZ), max_sec=_LONGEST_SEC):
        first, last = round(span.start_sec * MODEL_RATE_HZ), round(span.end_sec * MODEL_RATE_HZ)
        yield first / MODEL_RATE_HZ, samples[first:last]


def decode(decoder: Any, samples: NDArray[np.float32]) -> None:
    """One utterance [T] at 16 kHz, at full scale, for PocketSphinx's front end is blind to faint 16-bit sound."""
    peak = float(np.abs(samples).max()) if samples.size else 0.0
    scaled = np.round(samples * (20000.0 / peak if peak else 0.0)).astype(np.int16)
    decoder.start_stream()  # else the noise of earlier utterances is taken off this one
    decoder.start_utt()
    decoder.process_raw(scaled.tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()


def decoded_words(decoder: Any, samples: NDArray[np.float32], start_sec: float = 0.0) -> list[HeardWord]:
    """The words that a decoder hears in one utterance [T] at 16 kHz, which starts at a time; no silences or noises."""
    decode(decoder, samples)
    if decoder.hyp() is None:
        return []
    return [
        HeardWord(
            re.sub(r"\(\d+\)$", "", segment.word),
            start_sec + segment.start_frame * FRAME_SEC,
            start_sec + (segment.end_frame + 1) * FRAME_SEC,
            min(1.0, max(0.0, segment.prob)),
        )
        for segment in decoder.seg()
        if not is_filler(segment.word)
    ]


def is_filler(word: str) -> bool:
    """Whether PocketSphinx's word is no word, such as <sil> or [NOISE]."""
    return word.startswith(("<", "[", "++"))


def mismatch(given: str, heard: str, language: str = "en") -> float:
    """How much of a given text was not heard: the word error rate, cut off at 1; 0 where both say the same.

    Both are written out as spoken first and have neither case nor punctuation, so that "5" and "five" are one; in
    languages without spaces, such as Chinese, characters stand for words. Two texts without a word agree; a text
    against silence is 1. A weak recogniser's own errors are in it: PocketSphinx mishears up to two of three words of
    right texts, so its mismatches prove nothing, and the score of an alignment is to be taken in their place.

    Raises ModelMissing without jiwer or num2words.
    """
    try:
        import jiwer
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    reference, hypothesis = (words_in(spoken_form(text, language).text) for text in (given, heard))
    if language in _WITHOUT_SPACES:
        reference, hypothesis = (list("".join(words)) for words in (reference, hypothesis))
    if not reference:
        return 1.0 if hypothesis else 0.0
    return min(1.0, float(jiwer.wer(" ".join(reference), " ".join(hypothesis))))


def words_in(text: str) -> list[str]:
    """The words of a spoken text in lower case, with apostrophes and without punctuation."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower().replace("’", "'"))
