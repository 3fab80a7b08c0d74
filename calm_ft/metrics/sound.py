"""What can be heard without text or reference: silence, clipping, and how a clip ends.

Levels are those of 20 ms windows, relative to the clip's loudest; speech is what lies less than 40 dB under it, as in
`audio_io.trim_silence`. `end_level_db` is the level of the last 20 ms: a clip that was cut in a word is loud there, one
that ended by itself is not.
"""

from typing import Self

import numpy as np

from calm_ft.metrics.audio_io import as_mono, is_silent
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, NotMeasured, SpeechClip

SOUND_FIGURES = (
    Figure("silence_share", "share", "none", "silence in a clip"),
    Figure("clipped_share", "share", "lower", "clipped samples"),
    Figure("trailing_silence_sec", "s", "none", "silence at the end"),
    Figure("end_level_db", "dB", "none", "level of the last 20 ms"),
)
_WINDOW_SEC = 0.02
_SPEECH_RANGE_DB = 40.0
_LOWEST_DB = -80.0
_CLIPPED = 0.999


class Sound(Metric):
    """Shares of silence and of clipped samples, the silence at the end, and the level at the very end."""

    figures = SOUND_FIGURES
    identity = "sound-1"
    needs_speech = False

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls()

    def _measure(self, clip: SpeechClip) -> Measurement:
        mono = as_mono(clip.audio)
        clipped = float(np.mean(np.abs(mono) >= _CLIPPED))
        if is_silent(mono, clip.sample_rate_hz):
            none = NotMeasured("the clip is silent")
            return {
                "silence_share": 1.0,
                "clipped_share": clipped,
                "trailing_silence_sec": mono.size / clip.sample_rate_hz,
                "end_level_db": none,
            }
        level_db = relative_levels_db(mono, clip.sample_rate_hz)
        speech = level_db > -_SPEECH_RANGE_DB
        trailing = len(speech) - 1 - int(np.flatnonzero(speech)[-1])
        return {
            "silence_share": float(np.mean(~speech)),
            "clipped_share": clipped,
            "trailing_silence_sec": trailing * _WINDOW_SEC,
            "end_level_db": float(level_db[-1]),
        }


def relative_levels_db(mono: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Levels [N] of 20 ms windows in dB under the loudest one, not under -80; windows are counted from the end."""
    width = round(_WINDOW_SEC * sample_rate_hz)
    whole = mono[mono.size % width :].reshape(-1, width)
    power = np.square(whole).mean(axis=1)
    return np.maximum(10 * np.log10(power / power.max() + 1e-30), _LOWEST_DB)
