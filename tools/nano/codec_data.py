"""Random crops for the codec, a pure function of (seed, step)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy.signal import resample_poly

from calm_ft.randomness import derive_seed
from tools.nano.files import read_json_lines

CROP_SAMPLES = 15_360  # 0.96 s: 12 frames
MAX_RESAMPLING_PERCENT = 12
_MANY_VOICES_SHARE = 0.7
_RESAMPLED_SHARE = 0.5


@dataclass(frozen=True)
class CodecCorpus:
    """Where crops come from: clips of many voices, and clips of the FlowLM's 24."""

    many_voices: Sequence[Path]
    flow_lm_voices: Sequence[Path]

    def draw_batch(self, batch_size: int, *, seed: int, step: int) -> torch.Tensor:
        """Crops `[B, 1, CROP_SAMPLES]`: 70% of many voices, half of them resampled by up to 12%."""
        rng = np.random.default_rng(derive_seed(seed, "codec_crops", step))
        crops = [self._draw_crop(rng) for _ in range(batch_size)]
        return torch.from_numpy(np.stack(crops)).unsqueeze(1)

    def _draw_crop(self, rng: np.random.Generator) -> np.ndarray:
        paths = self.many_voices if rng.random() < _MANY_VOICES_SHARE else self.flow_lm_voices
        path = paths[int(rng.integers(len(paths)))]
        percent = 100
        if rng.random() < _RESAMPLED_SHARE:
            percent += int(rng.integers(-MAX_RESAMPLING_PERCENT, MAX_RESAMPLING_PERCENT + 1))
        crop = _read_crop(path, -(-CROP_SAMPLES * percent // 100), rng)
        return crop if percent == 100 else resample_poly(crop, 100, percent)[:CROP_SAMPLES].astype(np.float32)


def load_codec_corpus(many_voices_manifest: Path, flow_lm_manifest: Path) -> CodecCorpus:
    """The clips that two manifests of the corpus stage list."""
    return CodecCorpus(_paths(many_voices_manifest), _paths(flow_lm_manifest))


def _paths(manifest: Path) -> list[Path]:
    return [manifest.parent / row["path"] for row in read_json_lines(manifest)]


def _read_crop(path: Path, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    with soundfile.SoundFile(path) as clip:
        clip.seek(int(rng.integers(max(1, len(clip) - num_samples + 1))))
        return clip.read(num_samples, dtype="float32", fill_value=0.0)
