"""Is this audio sound at all? What can be said of one clip without a recording to compare it with.

These are checks against blunt failures (nothing, noise at full scale, a runaway generation), not a measure of
quality. The plausible speaking rates are wide on purpose: people read at 10 to 20 characters a second.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from calm_ft.evaluation.audio_io import AudioLike, as_mono, is_silent, level_dbfs, trim_silence

_CLIPPED = 0.999
_MIN_CHARACTERS_PER_SEC, _MAX_CHARACTERS_PER_SEC = 4.0, 40.0


@dataclass(frozen=True)
class Soundness:
    """What was found in one clip; `characters_per_sec` is its text over its speech, NaN if it is silent."""

    duration_sec: float
    level_dbfs: float
    peak: float
    num_clipped: int
    num_not_finite: int
    characters_per_sec: float
    silent: bool

    def problems(self) -> list[str]:
        """One short sentence for each thing that is wrong; empty if the clip is sound."""
        rate = self.characters_per_sec
        checks = {
            "it is silent": self.silent,
            f"{self.num_not_finite} samples are no finite number": self.num_not_finite > 0,
            f"{self.num_clipped} samples are clipped": self.num_clipped > 0,
            f"at {rate:.1f} characters a second it speaks too fast for its text": rate > _MAX_CHARACTERS_PER_SEC,
            f"at {rate:.1f} characters a second it is too long for its text": rate < _MIN_CHARACTERS_PER_SEC,
        }
        return [sentence for sentence, is_wrong in checks.items() if is_wrong]


def check_sound(audio: AudioLike, sample_rate_hz: int, text: str) -> Soundness:
    """Examine audio [T] that should say `text`; empty audio and samples that are no number raise nothing."""
    raw = audio.detach().cpu().numpy() if isinstance(audio, torch.Tensor) else np.asarray(audio)
    mono = as_mono(audio)
    silent = is_silent(mono, sample_rate_hz)
    speech_sec = trim_silence(mono, sample_rate_hz).size / sample_rate_hz
    return Soundness(
        duration_sec=mono.size / sample_rate_hz,
        level_dbfs=level_dbfs(mono),
        peak=float(np.abs(mono).max(initial=0.0)),
        num_clipped=int(np.sum(np.abs(mono) >= _CLIPPED)),
        num_not_finite=int(np.sum(~np.isfinite(raw))),
        characters_per_sec=math.nan if silent else len(text.strip()) / speech_sec,
        silent=silent,
    )
