"""Speech recognisers from the hub, by transformers: Whisper, wav2vec 2.0 and their kind."""

import logging
import warnings

import numpy as np

from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.hub import fetch_model, one_line
from calm_ft.metrics.resampling import MODEL_RATE_HZ, at_model_rate

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
