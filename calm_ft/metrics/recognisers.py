"""Speech recognisers: which one judges, and how each is loaded and asked."""

import filecmp
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.metrics.hub import fetch, fetch_model, one_line
from calm_ft.metrics.registry import DEFAULT_ASR

AUTO_ASR, EMBEDDED_ASR = "auto", "embedded"
_EMBEDDED_WEIGHTS = Path(__file__).parents[1] / "assets" / "nano" / "model.safetensors"


def choose_recogniser(asr: str, model: str | None, force: bool = False) -> str | EmbeddedASR:
    """The embedded one for the embedded model, which speaks as it was taught to hear; for others one of the hub.

    Args:
        model: what a run was given as its model, if it is known.
        force: let the embedded one judge any model.

    Raises UserError where the embedded one is asked for another model, unless it is forced.
    """
    is_nano = is_embedded(model)
    if asr != EMBEDDED_ASR and not (asr == AUTO_ASR and is_nano):
        return DEFAULT_ASR if asr == AUTO_ASR else asr
    embedded = EmbeddedASR()
    embedded.check_system(is_nano=is_nano, force=force)
    return embedded


def is_embedded(model: str | None) -> bool:
    """Whether a run tuned the embedded model, wherever that lay then."""
    weights = Path(str(model)) / "model.safetensors"
    return weights.is_file() and filecmp.cmp(weights, _EMBEDDED_WEIGHTS, shallow=False)


_FILES = ["*.json", "*.txt", "model.safetensors"]
_CHUNK_SEC = 30.0


class HubTranscriber:
    """Any model of transformers' speech recognition pipeline, such as openai/whisper-small.en, or a local folder."""

    def __init__(self, name: str) -> None:
        """Raises ModelMissing where it cannot be had, or is no speech recogniser."""
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

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]; longer clips are heard in pieces of 30 s."""
        samples = at_model_rate(audio, sample_rate_hz)
        long = {"chunk_length_s": _CHUNK_SEC} if len(samples) > _CHUNK_SEC * MODEL_RATE_HZ else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            heard = self._pipeline({"raw": samples, "sampling_rate": MODEL_RATE_HZ}, **long)
        assert isinstance(heard, dict)
        return str(heard["text"])


PREFIX = "faster-whisper:"


class FasterWhisperTranscriber:
    """A size such as small.en, a repository with a converted model, or a local folder with one (CTranslate2's)."""

    def __init__(self, model: str) -> None:
        """Raises ModelMissing where the package or the model cannot be had."""
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
            self._model: Any = WhisperModel(str(folder), device="cpu")
        except Exception as error:  # a folder may hold anything
            raise ModelMissing(
                f"{folder} holds no CTranslate2 Whisper that can be loaded ({one_line(error)})."
            ) from error
        self.name = f"{PREFIX}{model}"

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]; always the same, for nothing is drawn at a raised temperature."""
        samples = at_model_rate(audio, sample_rate_hz)
        segments, _ = self._model.transcribe(samples, temperature=0.0, condition_on_previous_text=False)
        return "".join(segment.text for segment in segments).strip()
