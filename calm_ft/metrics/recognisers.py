"""Speech recognisers: which one judges, and how each is loaded and asked.

The language follows the model: an English recogniser would make nothing of other speech, without a word.
"""

import copy
import logging
import os
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.metrics.hub import fetch, fetch_model

AUTO_ASR, EMBEDDED_ASR, MOONSHINE_ASR, NO_ASR = "auto", "embedded", "moonshine", "none"
ENGLISH_ASR, MULTILINGUAL_ASR = "openai/whisper-base.en", "openai/whisper-small"


class Transcriber(Protocol):
    """A speech recogniser; `name` says which one, with its version where that matters."""

    name: str

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]."""


def choose_recogniser(asr: str, language: str, fits_embedded: bool, force: bool = False) -> str | EmbeddedASR:
    """The recogniser that judges a model.

    Args:
        asr: "auto", "embedded", "moonshine", "none", a model of the hub, "faster-whisper:" and one of its models, or a
            folder.
            "auto" is the embedded one for the embedded model, and for others Whisper in the language.
        language: what the model speaks, an ISO 639-1 code.
        fits_embedded: whether the embedded model is judged, whose speech alone the embedded recogniser knows.
        force: let the embedded one judge any model.

    Raises UserError where the embedded one is asked for another model and not forced, and where an English recogniser
    is asked for another language.
    """
    if asr == EMBEDDED_ASR or (asr == AUTO_ASR and fits_embedded):
        if not (fits_embedded or force):
            raise UserError(
                "The embedded recogniser knows the embedded model's synthetic speech alone, so its error rates of "
                "another model mean nothing: choose auto, none, a recogniser of the hub, or a folder."
            )
        return EmbeddedASR()
    if asr == AUTO_ASR:
        return ENGLISH_ASR if language == "en" else MULTILINGUAL_ASR
    if (asr == MOONSHINE_ASR or asr.endswith(".en")) and language != "en":
        raise UserError(
            f"The recogniser {asr} knows English alone, and the model speaks {language!r}: choose auto or a "
            f"multilingual one, such as {MULTILINGUAL_ASR}, or set the language (evaluation.language, --language)."
        )
    return asr


def load_transcriber(asr: str | Transcriber, language: str) -> Transcriber:
    """The recogniser that was chosen. Raises ModelMissing where it cannot be had."""
    if not isinstance(asr, str):
        return asr
    if asr == NO_ASR:
        raise ModelMissing("no speech recogniser was asked for: name one of the hub, or a folder.")
    if asr == MOONSHINE_ASR:
        return MoonshineTranscriber()
    try:
        if asr.startswith(PREFIX):
            return FasterWhisperTranscriber(asr.removeprefix(PREFIX), language)
        return HubTranscriber(asr, language)
    except ModelMissing as missing:
        if language != "en":
            raise
        raise ModelMissing(f"{missing} Or choose the recogniser {MOONSHINE_ASR}: it needs no download.") from missing


_FILES = ["*.json", "*.txt", "model.safetensors"]
_CHUNK_SEC = 30.0


class HubTranscriber:
    """Any model of transformers' speech recognition pipeline, such as openai/whisper-small.en, or a local folder."""

    def __init__(self, name: str, language: str = "en") -> None:
        """`language`: what a multilingual Whisper is told to expect, so that it neither guesses nor translates.

        Raises ModelMissing where it cannot be had, or is no speech recogniser.
        """
        folder = fetch_model(name, _FILES)
        self.name = name
        logging.getLogger("transformers").setLevel(logging.ERROR)  # advice about generation settings, clip by clip
        try:
            from transformers import pipeline

            # A revision pinned by the cache and safetensors alone: no pickle is read.
            self._pipeline = pipeline(
                "automatic-speech-recognition", model=str(folder), device="cpu", model_kwargs={"use_safetensors": True}
            )
        except Exception as error:  # a repository may hold anything
            raise ModelMissing(f"{name} is no speech recogniser that can be loaded ({one_line(error)}).") from error
        generation = getattr(self._pipeline.model, "generation_config", None)
        told = {"language": language, "task": "transcribe"} if getattr(generation, "is_multilingual", False) else {}
        self._settings: dict[str, Any] = {"generate_kwargs": told} if told else {}

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]; longer clips are heard in pieces of 30 s."""
        samples = at_model_rate(audio, sample_rate_hz)
        long = {"chunk_length_s": _CHUNK_SEC} if len(samples) > _CHUNK_SEC * MODEL_RATE_HZ else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            heard = self._pipeline({"raw": samples, "sampling_rate": MODEL_RATE_HZ}, **long, **self._settings)
        assert isinstance(heard, dict)
        return str(heard["text"])


PREFIX = "faster-whisper:"


@dataclass(frozen=True)
class TimedWord:
    """A word, its times in seconds from the start of the sound, and how probable the model finds it."""

    word: str
    start_sec: float
    end_sec: float
    probability: float


class FasterWhisperTranscriber:
    """A size such as small.en, a repository with a converted model, or a local folder with one (CTranslate2's)."""

    def __init__(self, model: str, language: str | None = "en", device: str = "cpu") -> None:
        """`language`: None finds it out anew in each sound. `device`: "cpu" or "cuda".

        Raises ModelMissing where the package or the model cannot be had.
        """
        try:
            from faster_whisper import WhisperModel, available_models, download_model
        except ImportError as error:
            raise ModelMissing(f"{error.name} is not installed: install the extra `evaluation`.") from error
        folder = Path(model)
        if not folder.is_dir():
            if model not in available_models() and "/" not in model:
                sizes = ", ".join(available_models())
                raise ModelMissing(
                    f"faster-whisper has no model {model!r}: name one of {sizes}, a repository or a folder."
                )
            folder = fetch(lambda offline: download_model(model, local_files_only=offline), f"{PREFIX}{model}")
        # Without this file the package asks the hub for a tokenizer.
        if not (folder / "tokenizer.json").is_file():
            raise ModelMissing(
                f"{folder} holds no tokenizer.json: convert the model with --copy_files tokenizer.json "
                "preprocessor_config.json."
            )
        try:
            self._model: Any = WhisperModel(str(folder), device=device)
        except Exception as error:  # a folder may hold anything
            raise ModelMissing(
                f"{folder} holds no CTranslate2 Whisper that can be loaded ({one_line(error)})."
            ) from error
        self.name = f"{PREFIX}{model}"
        self._language = language

    def in_language(self, language: str | None) -> "FasterWhisperTranscriber":
        """The same loaded model, told another language."""
        other = copy.copy(self)
        other._language = language
        return other

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]; always the same, for nothing is drawn at a raised temperature."""
        samples = at_model_rate(audio, sample_rate_hz)
        segments, _ = self._model.transcribe(
            samples, temperature=0.0, condition_on_previous_text=False, language=self._language
        )
        return "".join(segment.text for segment in segments).strip()

    def timed_words(self, audio: np.ndarray, sample_rate_hz: int) -> tuple[list[TimedWord], str]:
        """The words that are said in audio [T] with their times, and their language (ISO 639-1)."""
        segments, about = self._model.transcribe(
            at_model_rate(audio, sample_rate_hz),
            temperature=0.0,
            condition_on_previous_text=False,
            language=self._language,
            word_timestamps=True,
        )
        words = [word for segment in segments for word in segment.words or ()]
        return [TimedWord(word.word, word.start, word.end, word.probability) for word in words], str(about.language)


class MoonshineTranscriber:
    """Moonshine's tiny English model, which lies in the wheel of moonshine-voice.

    Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands", 2024. It tells neither
    times nor how sure it is.
    """

    def __init__(self) -> None:
        """Raises ModelMissing without the package, and where its version holds no model."""
        # Its threads wait for each other: on two cores one alone is done sooner (20 against 8 x real time).
        os.environ.setdefault("MOONSHINE_ORT_SINGLE_THREAD", "1")
        try:
            from moonshine_voice import ModelArch, Transcriber, get_model_path
        except (ImportError, OSError) as error:  # its library is for newer systems than some
            raise ModelMissing(f"moonshine-voice cannot be used ({one_line(error)}): {_INSTALL_MOONSHINE}") from error
        version = metadata.version("moonshine-voice")
        try:
            # It would cut the sound at what it takes for pauses, and make a word up for each stretch of noise.
            self._model: Any = Transcriber(get_model_path("tiny-en"), ModelArch.TINY, options={"vad_threshold": 0})
        except Exception as error:  # the package's own, where the files are missing
            raise ModelMissing(f"moonshine-voice {version} holds no model: {_INSTALL_MOONSHINE}") from error
        self.name = f"moonshine-voice {version} tiny-en"

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]; longer clips are heard in pieces of at most 30 s, all of one length."""
        samples = at_model_rate(audio, sample_rate_hz)
        num_pieces = max(1, -(-len(samples) // round(_CHUNK_SEC * MODEL_RATE_HZ)))
        heard = (self._transcribe(piece) for piece in np.array_split(samples, num_pieces))
        return " ".join(text for text in heard if text)

    def _transcribe(self, samples: np.ndarray) -> str:
        if not samples.any():
            return ""
        found = self._model.transcribe_without_streaming(samples.tolist(), MODEL_RATE_HZ)
        return " ".join(line.text.strip() for line in found.lines).strip()


_INSTALL_MOONSHINE = "install the extra `moonshine`, whose version holds its model."
