"""Batches for the recogniser's training, a pure function of (seed, step): clips of like length, made worse at random.

Speed and pitch by resampling (up to 12 %), the spectrum's tilt by a first-order filter, white noise, silence around
the speech. What is masked of the features follows SpecAugment (Park et al. 2019), with masks small enough that a
letter is never wholly hidden from its context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from calm_ft.metrics.embedded_recogniser import encode_text
from calm_ft.randomness import derive_seed, make_rng
from tools.nano.files import read_json_lines

_WINDOW_CLIPS = 512  # a batch is drawn from this many neighbours in length, so that little of it is padding
_RESAMPLED_SHARE, _MAX_SPEED_CHANGE = 0.5, 0.12
_NOISY_SHARE, _NOISE_DB = 0.5, (5.0, 40.0)
_MAX_TILT = 0.6
_MAX_SILENCE_SAMPLES = 4000


@dataclass(frozen=True)
class AsrBatch:
    """Audio `[B, S]` float32 at 16 kHz, padded with silence, and what each row says, as units `[L]`."""

    audio: torch.Tensor
    texts: list[torch.Tensor]


class AsrCorpus:
    """The clips of the given manifests, shortest first."""

    def __init__(self, manifests: Sequence[Path]):
        clips = [(each.parent / row["path"], row["text"]) for each in manifests for row in read_json_lines(each)]
        # The size is the length (16-bit mono), and is read faster.
        self._clips = sorted(clips, key=lambda clip: (clip[0].stat().st_size, str(clip[0])))

    def draw_batch(self, batch_size: int, *, seed: int, step: int) -> AsrBatch:
        """Clips of like length, each worsened at random."""
        rng = np.random.default_rng(derive_seed(seed, "asr_batch", step))
        window = min(_WINDOW_CLIPS, len(self._clips))
        start = int(rng.integers(len(self._clips) - window + 1))
        chosen = [self._clips[start + int(offset)] for offset in rng.integers(window, size=batch_size)]
        rows = [worsen(soundfile.read(path, dtype="float32")[0], rng) for path, _ in chosen]
        audio = np.zeros((batch_size, max(len(row) for row in rows)), np.float32)
        for place, row in zip(audio, rows, strict=True):
            place[: len(row)] = row
        return AsrBatch(torch.from_numpy(audio), [encode_text(text) for _, text in chosen])


def worsen(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A clip `[S]` at another speed, tilt, noise and place; its length changes."""
    if rng.random() < _RESAMPLED_SHARE:
        samples = _at_speed(samples, 1 + rng.uniform(-_MAX_SPEED_CHANGE, _MAX_SPEED_CHANGE))
    samples = np.pad(samples, tuple(rng.integers(1, _MAX_SILENCE_SAMPLES, size=2)))
    samples[1:] += rng.uniform(-_MAX_TILT, _MAX_TILT) * samples[:-1]
    if rng.random() < _NOISY_SHARE:
        level = np.sqrt(np.mean(samples**2)) * 10 ** (-rng.uniform(*_NOISE_DB) / 20)
        samples = samples + level * rng.standard_normal(len(samples))
    return samples.astype(np.float32)


def _at_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    # Linear interpolation dulls the treble a little, which here is one more way of being worse, and fast.
    places = np.arange(0, len(samples) - 1, speed)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def mask_features(features: torch.Tensor, *, seed: int, step: int) -> torch.Tensor:
    """Log-mel `[B, M, T]` with one band of up to 10 mels and two stretches of up to 6 frames at their lowest value."""
    rng = make_rng(seed, "asr_masks", step)
    masked = features.clone()
    for row in masked:
        _mask_stretch(row, 10, rng)
        for _ in range(2):
            _mask_stretch(row.T, 6, rng)
    return masked


def _mask_stretch(rows: torch.Tensor, longest: int, rng: torch.Generator) -> None:
    width = int(torch.randint(longest + 1, (), generator=rng))
    start = int(torch.randint(max(1, len(rows) - width + 1), (), generator=rng))
    rows[start : start + width] = -1.0
