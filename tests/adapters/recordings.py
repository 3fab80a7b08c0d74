"""Sounds with words and pauses, without anybody's voice: harmonics under a syllable's envelope."""

import math
from pathlib import Path

import soundfile
import torch
from torch import Tensor


def speechlike(duration_sec: float, rate_hz: int, seed: int = 0) -> Tensor:
    """[T] float32; bursts of a third of a second with pauses between them."""
    rng = torch.Generator().manual_seed(seed)
    time_sec = torch.arange(round(duration_sec * rate_hz)) / rate_hz
    pitch_hz = 90 + 60 * torch.rand((), generator=rng)
    phases = 2 * math.pi * torch.rand(6, generator=rng)
    tones = [torch.sin(2 * math.pi * (k + 1) * pitch_hz * time_sec + phases[k]) / (k + 1) for k in range(6)]
    envelope = torch.sin(2 * math.pi * 1.5 * time_sec + phases[0]).clamp(min=0)
    return 0.2 * torch.stack(tones).sum(dim=0) * envelope + 1e-4 * torch.randn(len(time_sec), generator=rng)


def write_speechlike(path: Path, duration_sec: float, rate_hz: int, seed: int = 0) -> Path:
    """A wav file of `speechlike`, 16 bits as stock reads them."""
    soundfile.write(path, speechlike(duration_sec, rate_hz, seed).numpy(), rate_hz, subtype="PCM_16")
    return path
