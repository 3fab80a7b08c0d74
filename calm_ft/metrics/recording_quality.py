"""How good a recording is, in figures that take no model: its level, noise, clipping, channels and ends.

Levels are those of frames of 10 ms, above 70 Hz. Where no voice activity is known, speech is what lies within 35 dB of
the 95th percentile of the levels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt, sosfilt_zi

Samples = NDArray[np.floating[Any]]
Levels = NDArray[np.float64]

FRAME_SEC = 0.01
LOWEST_DB, SILENT_DB = -120.0, -75.0
_HIGH_PASS_HZ = 70.0
_SPEECH_RANGE_DB, _FEWEST_FRAMES = 35.0, 20

MOST_CLIPPED = 0.004
SILENT_CHANNEL_DB = -40.0
LEAST_SNR_DB = 15.0
CUT_LEVEL_DB, CUT_RISE_DB, ABOVE_NOISE_DB = -15.0, 4.5, 8.0
_LEAST_SPEECH_SHARE, _FEWEST_SPEECH_SEC = 0.4, 0.3
_SILENT_PEAK = 1e-3


@dataclass(frozen=True)
class RecordingQuality:
    """Figures of one recording, which is not silent.

    Attributes:
        level_dbfs: the mean power of its speech, all channels mixed down.
        snr_db: the level of the speech above that of the quietest frames, digital silence aside; None where it is
            too short for that.
        clipped_share: the share of samples that are as large as the largest.
        channel_difference_db: the level of the quietest channel against that of the loudest; 0 for one channel.
        speech_sec: how much of it is speech; speech_share: the share of that from its first to its last speech.
        start_level_db, end_level_db: the level of the first and last 20 ms against that of the speech.
        start_rise_db, end_rise_db: how much louder it is right after the start, and right before the end.
    """

    duration_sec: float
    level_dbfs: float
    snr_db: float | None
    clipped_share: float
    channel_difference_db: float
    speech_sec: float
    speech_share: float
    start_level_db: float | None
    end_level_db: float | None
    start_rise_db: float | None
    end_rise_db: float | None

    def faults(self) -> Iterator[str]:
        """What is wrong with it, in words with the figures. Nothing for a recording that is well."""
        if self.clipped_share > MOST_CLIPPED:
            yield f"{self.clipped_share:.1%} of its samples are clipped"
        if self.channel_difference_db < SILENT_CHANNEL_DB:
            yield "one of its channels is silent"
        if self.speech_share < _LEAST_SPEECH_SHARE or self.speech_sec < _FEWEST_SPEECH_SEC:
            yield f"it holds only {self.speech_sec:.1f} s of speech"
        if self.snr_db is not None and self.snr_db < LEAST_SNR_DB:
            yield f"noise is only {self.snr_db:.0f} dB under the speech"
        limit_db = max(CUT_LEVEL_DB, ABOVE_NOISE_DB - (self.snr_db or 0.0))
        for edge, level_db, rise_db in (
            ("start", self.start_level_db, self.start_rise_db),
            ("end", self.end_level_db, self.end_rise_db),
        ):
            if level_db is not None and rise_db is not None and level_db > limit_db and rise_db < CUT_RISE_DB:
                yield f"its {edge} is in the middle of sound"


def recording_quality(channels: Samples, sample_rate_hz: int) -> RecordingQuality | None:
    """The figures of a recording [T, C] or [T] as it is, without any silence that was added; None for silence."""
    columns = channels if channels.ndim == 2 else channels[:, None]
    columns = columns - columns.mean(axis=0, dtype=np.float64) if len(columns) else columns
    peak = float(np.abs(columns).max(initial=0.0))
    if peak < _SILENT_PEAK:
        return None
    loudest = columns[:, int(np.argmax(columns.var(axis=0)))]
    mono = columns.mean(axis=1)
    scaled = loudest / peak  # so that no figure but the level depends on how loud it is
    levels_db = frame_levels_db(scaled, sample_rate_hz)
    speech = levels_db > float(np.percentile(levels_db, 95)) - _SPEECH_RANGE_DB
    places = np.flatnonzero(speech)
    speech_db = power_mean_db(levels_db[speech])
    start_level_db, start_rise_db = edge_level(scaled, sample_rate_hz, speech_db)
    end_level_db, end_rise_db = edge_level(scaled[::-1], sample_rate_hz, speech_db)
    mixed_db = power_mean_db(frame_levels_db(mono, sample_rate_hz)[speech])
    return RecordingQuality(
        duration_sec=len(columns) / sample_rate_hz,
        level_dbfs=LOWEST_DB if mixed_db is None else mixed_db,
        snr_db=_snr_db(levels_db, speech_db),
        clipped_share=clipped_share(loudest),
        channel_difference_db=compare_channels(columns)[0],
        speech_sec=np.count_nonzero(speech) * FRAME_SEC,
        speech_share=float(np.mean(speech[places[0] : places[-1] + 1])),
        start_level_db=start_level_db,
        end_level_db=end_level_db,
        start_rise_db=start_rise_db,
        end_rise_db=end_rise_db,
    )


def _snr_db(levels_db: Levels, speech_db: float | None) -> float | None:
    """Speech above the quietest 2 % of frames; digital silence says nothing of the noise under the speech."""
    sounding = levels_db[levels_db > SILENT_DB]
    if speech_db is None or len(sounding) < _FEWEST_FRAMES:
        return None
    return speech_db - float(np.percentile(sounding, 2))


def frame_levels_db(samples: Samples, sample_rate_hz: int) -> Levels:
    """The level of each 10 ms of mono sound [T] above 70 Hz, in dBFS and not under -120: [F].

    Hum and a constant offset are left out; the last frame may be shorter.
    """
    width = max(1, round(FRAME_SEC * sample_rate_hz))
    sections = butter(2, _HIGH_PASS_HZ, "highpass", fs=sample_rate_hz, output="sos")
    state = sosfilt_zi(sections) * (float(samples[0]) if samples.size else 0.0)
    powers = []
    for start in range(0, samples.size, 6000 * width):
        block, state = sosfilt(sections, samples[start : start + 6000 * width], zi=state)
        starts = np.arange(0, block.size, width)
        powers.append(np.add.reduceat(np.square(block), starts) / np.diff(starts, append=block.size))
    power = np.concatenate(powers) if powers else np.zeros(0)
    return 10 * np.log10(np.maximum(power, 10 ** (LOWEST_DB / 10)))


def power_mean_db(levels_db: Levels) -> float | None:
    """The level of the mean power of frames [F]; None where there are none."""
    return 10 * float(np.log10(np.mean(10 ** (levels_db / 10)))) if len(levels_db) else None


def clipped_share(samples: Samples) -> float:
    """The share of samples [T] within 0.5 % of the largest, on the side that has more of them."""
    tops = (float(side.max(initial=0.0)) for side in (samples, -samples))
    return max(
        float(np.mean(side >= 0.995 * top)) if top > 0 else 0.0
        for side, top in zip((samples, -samples), tops, strict=True)
    )


def compare_channels(columns: Samples) -> tuple[float, float]:
    """The level of the quietest channel of [T, C] against the loudest in dB; the least correlation with the first."""
    if columns.shape[1] < 2 or not len(columns):
        return 0.0, 1.0
    centred = columns - columns.mean(axis=0, dtype=np.float64)
    power = np.mean(np.square(centred), axis=0)
    if power.max() == 0:
        return 0.0, 1.0
    difference_db = 10 * float(np.log10(max(power.min() / power.max(), 1e-12)))
    products = centred.T @ centred[:, 0] / len(centred)
    return difference_db, float((products / np.sqrt(np.maximum(power * power[0], 1e-30))).min())


def edge_level(samples: Samples, sample_rate_hz: int, speech_db: float | None) -> tuple[float | None, float | None]:
    """The level of the first 20 ms of sound [T] against the speech, and by how much it rises within 10 or 60 ms.

    Speech that begins by itself rises, even where it was trimmed to its first sample; speech that was cut does not.
    """
    if speech_db is None or samples.size < 0.06 * sample_rate_hz:
        return None, None

    def level_db(start_sec: float, end_sec: float) -> float:
        part = samples[round(start_sec * sample_rate_hz) : round(end_sec * sample_rate_hz)]
        return 10 * float(np.log10(np.mean(np.square(part, dtype=np.float64)) + 1e-12))

    first_db = level_db(0, 0.02)
    rise_db = max(level_db(0.02, 0.06) - first_db, level_db(0.002, 0.012) - level_db(0, 0.002))
    return first_db - speech_db, rise_db
