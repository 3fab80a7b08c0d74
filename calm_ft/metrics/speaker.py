"""Speaker similarity: the cosine between two speaker embeddings, of the clip and of the voice prompt.

Two encoders, for they disagree and only one is always at hand: WavLM for speaker verification from the hub (Chen et
al., "WavLM", 2022; microsoft/wavlm-base-plus-sv), and Resemblyzer's GE2E encoder, whose weights come in its package
(Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018). Figures of the two must not be compared.
Both cut silence at the ends off, else the pauses would be embedded too.
"""

import copy
import hashlib
import warnings
from abc import abstractmethod
from functools import cache
from typing import Any, Self

import numpy as np
import torch

from calm_ft.hub_faults import one_line
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate, trim_silence
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, ModelMissing, SpeechClip
from calm_ft.metrics.hub import fetch_model

WAVLM = "microsoft/wavlm-base-plus-sv"
RESEMBLYZER_FIGURE = Figure(
    "speaker_similarity_resemblyzer", "cosine", "higher", "sounds like the voice (Resemblyzer)", trusted=0.6
)
WAVLM_FIGURE = Figure("speaker_similarity_wavlm", "cosine", "higher", "sounds like the voice (WavLM)", trusted=0.6)
_MIN_SAMPLES = MODEL_RATE_HZ // 2
_EMBEDDING_SIZE = 256
_FEWEST_VOICE_SEC, _MOST_VOICE_SEC = 1.5, 5.0
_VOICE_DBFS = -30.0


class SpeakerSimilarity(Metric):
    """What the two encoders share; a subclass gives the embedding."""

    in_threads = True

    def __init__(self, prompt: np.ndarray, sample_rate_hz: int, version: str) -> None:
        """`prompt`: a recording [T] of the voice that was asked for."""
        self._version = version
        self._listen_to(prompt, sample_rate_hz)

    @classmethod
    def build(cls, given: Given) -> Self:
        if given.prompt is None:
            raise ModelMissing("the voice is a saved state, and no recording of it is at hand: pass one as --voice.")
        return cls(given.prompt, given.sample_rate_hz)  # type: ignore[call-arg]  # what both encoders take

    def for_voice(self, voice: str, prompt: np.ndarray, sample_rate_hz: int) -> Self:
        """The same encoder, with another recording [T] to compare with."""
        other = copy.copy(self)
        other._listen_to(prompt, sample_rate_hz)
        return other

    def _listen_to(self, prompt: np.ndarray, sample_rate_hz: int) -> None:
        self.identity = f"{self._version} {hashlib.sha256(prompt.tobytes()).hexdigest()}"
        self._target = self._embed(_speech(prompt, sample_rate_hz))

    @abstractmethod
    def _embed(self, samples: np.ndarray) -> np.ndarray:
        """The embedding [E] of speech [T] at 16 kHz, of length one."""

    def _measure(self, clip: SpeechClip) -> Measurement:
        embedding = self._embed(_speech(clip.audio, clip.sample_rate_hz))
        return {self.figures[0].name: float(embedding @ self._target)}


class ResemblyzerSimilarity(SpeakerSimilarity):
    """By Resemblyzer, which needs no download."""

    figures = (RESEMBLYZER_FIGURE,)

    def __init__(self, prompt: np.ndarray, sample_rate_hz: int) -> None:
        """Raises ModelMissing where resemblyzer is not installed."""
        resemblyzer_encoder()
        super().__init__(prompt, sample_rate_hz, "resemblyzer-1")

    def _embed(self, samples: np.ndarray) -> np.ndarray:
        return np.asarray(resemblyzer_encoder().embed_utterance(samples))


def speaker_embedding(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Resemblyzer's embedding [256], of length one, of a recording [T] without the silence at its ends.

    The encoder hears levels, so compare recordings of one loudness. Raises ModelMissing where resemblyzer is not
    installed.
    """
    return np.asarray(resemblyzer_encoder().embed_utterance(_speech(audio, sample_rate_hz)))


def voice_embedding(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The voice of mono speech [T] as a vector [256] of length one; zeros for under 1.5 s, too little to know it by.

    At most the middle 5 s are heard, at one level: more hardly changes the vector and takes its time. Raises
    ModelMissing without resemblyzer.
    """
    resemblyzer_encoder()  # so that a missing package is known from the first clip on, however short it is
    speech = trim_silence(np.asarray(samples), sample_rate_hz)
    spare = speech.size - round(_MOST_VOICE_SEC * sample_rate_hz)
    speech = speech[spare // 2 : speech.size - spare // 2] if spare > 0 else speech
    if speech.size < _FEWEST_VOICE_SEC * sample_rate_hz:
        return np.zeros(_EMBEDDING_SIZE, np.float32)
    level = float(np.sqrt(np.mean(np.square(speech))))
    return speaker_embedding(speech * (10 ** (_VOICE_DBFS / 20) / level), sample_rate_hz).astype(np.float32)


@cache
def resemblyzer_encoder() -> Any:
    """The encoder, loaded once for all. Raises ModelMissing where resemblyzer is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from resemblyzer import VoiceEncoder
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `evaluation`.") from error
    return VoiceEncoder("cpu", verbose=False)


class WavLMSimilarity(SpeakerSimilarity):
    """By WavLM, the field's usual encoder."""

    figures = (WAVLM_FIGURE,)

    def __init__(self, prompt: np.ndarray, sample_rate_hz: int, model: str = WAVLM) -> None:
        """`model`: a repository or a local folder. Raises ModelMissing where it cannot be had."""
        folder = fetch_model(model, ["*.json", "model.safetensors", "pytorch_model.bin"])
        try:
            from transformers import AutoFeatureExtractor, WavLMForXVector

            self._features: Any = AutoFeatureExtractor.from_pretrained(folder)
            # transformers reads a .bin by torch.load(weights_only=True).
            self._model: Any = WavLMForXVector.from_pretrained(folder).eval()
        except Exception as error:  # a repository may hold anything
            raise ModelMissing(f"{model} could not be loaded ({one_line(error)}).") from error
        super().__init__(prompt, sample_rate_hz, f"wavlm-1 {model}")

    def _embed(self, samples: np.ndarray) -> np.ndarray:
        inputs = self._features(samples, sampling_rate=MODEL_RATE_HZ, return_tensors="pt")
        with torch.no_grad():
            embedding = self._model(**inputs).embeddings[0]
        return torch.nn.functional.normalize(embedding, dim=-1).numpy()


def _speech(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Speech at 16 kHz, repeated to half a second where it is shorter, as convolutions need some length."""
    samples = at_model_rate(trim_silence(audio, sample_rate_hz), sample_rate_hz)
    return samples if samples.size >= _MIN_SAMPLES else np.resize(samples, _MIN_SAMPLES)
