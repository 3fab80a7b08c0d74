"""What the frozen networks make of a clip, cached: tokens, mel, speaker embeddings, prompt tokens.

Audio is padded to whole tokens (40 ms), so that mel frames are exactly two a token: 24 kHz at hop 480, tokens at
25 a second. Sources: chatterbox/tts.py (`prepare_conditionals`), chatterbox/models/s3gen/s3gen.py (`embed_ref`).
"""

import hashlib
import math
from dataclasses import dataclass

import librosa
import numpy as np
import pyloudnorm
import torch
from chatterbox.models.s3gen.s3gen import get_resampler
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.data.feature_cache import Features
from calm_ft.tensor_hash import add_tensors

FEATURES_VERSION = "chatterbox-1"  # to be raised with each change here that changes features
SAMPLE_RATE_HZ, TOKENIZER_RATE_HZ = 24_000, 16_000
TOKENS_PER_SEC, FRAMES_PER_TOKEN = 25, 2
SAMPLES_PER_TOKEN = SAMPLE_RATE_HZ // TOKENS_PER_SEC
MAX_REFERENCE_SEC = 10  # what S3Gen hears of a reference at most


MIN_LOUDNESS_SEC = 0.4  # a block of ITU-R BS.1770, the shortest sound that has a loudness


@dataclass(frozen=True)
class Hearing:
    """How a model of the family hears recordings that are to be its voice or its training clips.

    Args:
        prompt_sec: how much of a clip's beginning prompts T3 at most.
        loudness_lufs: the loudness to which recordings are brought before anything else; None leaves them as they are.
        min_voice_sec: shorter recordings make no voice.
    """

    prompt_sec: float
    loudness_lufs: float | None = None
    min_voice_sec: float = 0.5

    def heard(self, samples: Tensor) -> Tensor:
        """A recording [T] at 24 kHz as the networks get it, [T]; silence and what is too short stay as they are."""
        if self.loudness_lufs is None or len(samples) < MIN_LOUDNESS_SEC * SAMPLE_RATE_HZ:
            return samples
        with np.errstate(divide="ignore"):
            loudness = pyloudnorm.Meter(SAMPLE_RATE_HZ).integrated_loudness(samples.double().numpy())
        gain = 10 ** ((self.loudness_lufs - loudness) / 20) if math.isfinite(loudness) else 1.0
        return (samples.double() * gain).float()


@torch.no_grad()
def encode_clip(models: ChatterboxModels, samples: Tensor, hearing: Hearing) -> Features:
    """Features of a clip [T] at 24 kHz.

    speech_tokens [N] int64; mel [2N, 80] log-mel; speaker_embedding [256] (T3's); x_vector [192] (S3Gen's);
    prompt_tokens [P] int64, those of the first `hearing.prompt_sec` alone, as T3 is prompted by.
    """
    padded = pad_to_tokens(hearing.heard(samples))
    device = next(models.s3gen.parameters()).device
    low_rate = resampled(padded)
    tokens = tokenize(models, low_rate)
    mel = models.s3gen.mel_extractor(padded[None].to(device))[0].transpose(0, 1)
    assert len(mel) == FRAMES_PER_TOKEN * len(tokens)
    return {
        "speech_tokens": tokens.cpu(),
        "mel": mel.float().cpu(),
        "speaker_embedding": speaker_embedding(models, low_rate),
        "x_vector": x_vector(models, padded).cpu(),
        "prompt_tokens": prompt_tokens(models, low_rate, hearing.prompt_sec).cpu(),
    }


def pad_to_tokens(samples: Tensor) -> Tensor:
    """The same [T] with silence up to the next whole token."""
    return F.pad(samples, (0, -len(samples) % SAMPLES_PER_TOKEN))


def resampled(samples: Tensor) -> NDArray[np.float32]:
    """[T] at 24 kHz to 16 kHz by librosa, as upstream resamples what T3 is conditioned on."""
    return librosa.resample(samples.numpy(), orig_sr=SAMPLE_RATE_HZ, target_sr=TOKENIZER_RATE_HZ)


def tokenize(models: ChatterboxModels, low_rate: NDArray[np.float32], max_tokens: int | None = None) -> Tensor:
    """Speech tokens [N] of audio at 16 kHz; copied, since those of more than 30 s are inference tensors."""
    tokens, lengths = models.s3gen.tokenizer.forward([low_rate], max_len=max_tokens)
    return tokens[0, : int(lengths[0])].clone()


def prompt_tokens(models: ChatterboxModels, low_rate: NDArray[np.float32], prompt_sec: float) -> Tensor:
    """What T3 is prompted by [P]: the tokens of the first seconds, at most as many as the model was made for."""
    beginning = low_rate[: round(prompt_sec * TOKENIZER_RATE_HZ)]
    return tokenize(models, beginning, models.t3.hp.speech_cond_prompt_len)


def speaker_embedding(models: ChatterboxModels, low_rate: NDArray[np.float32]) -> Tensor:
    """T3's speaker embedding [256], of norm 1."""
    return torch.from_numpy(models.voice_encoder.embeds_from_wavs([low_rate], sample_rate=TOKENIZER_RATE_HZ)[0]).clone()


@torch.no_grad()
def x_vector(models: ChatterboxModels, samples: Tensor) -> Tensor:
    """S3Gen's speaker embedding [192] of the first ten seconds, resampled as `embed_ref` does."""
    device = next(models.s3gen.parameters()).device
    reference = samples[: MAX_REFERENCE_SEC * SAMPLE_RATE_HZ].to(device)
    low_rate = get_resampler(SAMPLE_RATE_HZ, TOKENIZER_RATE_HZ, device)(reference[None])
    return models.s3gen.speaker_encoder.inference(low_rate)[0]


def fingerprint(models: ChatterboxModels, hearing: Hearing) -> str:
    """A hash of the networks and settings that shape features."""
    loudness = "" if hearing.loudness_lufs is None else f":{hearing.loudness_lufs}"
    settings = f"{FEATURES_VERSION}:{hearing.prompt_sec}:{models.t3.hp.speech_cond_prompt_len}{loudness}"
    digest = hashlib.blake2b(settings.encode())
    for part in (models.voice_encoder, models.s3gen.tokenizer, models.s3gen.speaker_encoder):
        add_tensors(digest, part.state_dict().items())
    return digest.hexdigest()[:16]
