"""How well a codec renders a voice: MCD of encode-decode against the original, over sentences that nobody
trained on.
"""

from collections.abc import Sequence

import numpy as np
import torch
from pocket_tts.models.mimi import MimiModel

from calm_ft.metrics.distortion import mel_cepstral_distortion
from tools.nano.codec_forward import decode, encode
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize


@torch.no_grad()
def render(codec: MimiModel, samples: np.ndarray) -> np.ndarray:
    """Audio `[T]` encoded and decoded again, cut to its own length."""
    audio = torch.from_numpy(samples).reshape(1, 1, -1)
    return decode(codec, encode(codec, audio)).flatten()[: len(samples)].numpy()


def codec_mcd(codec: MimiModel, voice: EspeakVoice, texts: Sequence[str]) -> float:
    """Mean MCD in dB over the texts, spoken by the voice."""
    clips = [synthesize(text, voice) for text in texts]
    return float(np.mean([mel_cepstral_distortion(clip, render(codec, clip), SAMPLE_RATE_HZ) for clip in clips]))
