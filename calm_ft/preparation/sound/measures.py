"""What the sound of one clip is like, in figures, and which of them say that something is wrong with it.

Levels are those of frames of 10 ms, above 70 Hz; the level of the speech is the mean power of frames in the spans of
voice activity. The limits were chosen on real recordings: `benchmarks/preparation_sound.py` measures how many planted
faults each finds and how many clean clips it suspects. Two voices that speak at once are looked for by a model instead
(`overlap.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.signal import get_window

from calm_ft.metrics.recording_quality import (
    ABOVE_NOISE_DB,
    CUT_LEVEL_DB,
    CUT_RISE_DB,
    FRAME_SEC,
    LEAST_SNR_DB,
    MOST_CLIPPED,
    SILENT_CHANNEL_DB,
    SILENT_DB,
    clipped_share,
    compare_channels,
    edge_level,
    frame_levels_db,
    power_mean_db,
)
from calm_ft.preparation.clips import Span
from calm_ft.preparation.sound.conditioning import loudness_lufs
from calm_ft.preparation.sound.voice_activity import speech_spans

Samples = NDArray[np.floating[Any]]
Levels = NDArray[np.float64]

_FEWEST_FRAMES, _FEWEST_PAUSE_FRAMES, _FADE_FRAMES = 20, 15, 5
_BAND_RANGE_DB, _BAND_STEP_HZ = 60.0, 500.0
_FALL_FRAMES = 20
_LOWEST_TONAL_HZ, _HIGHEST_TONAL_HZ = 200.0, 3600.0


@dataclass(frozen=True)
class SoundMeasures:
    """Figures of one clip; those that it is too short or too silent for are None.

    Attributes:
        loudness_lufs: the integrated loudness of its loudest channel (ITU-R BS.1770).
        peak_dbfs: its largest sample over all channels.
        clipped_share: the share of samples that are as large as the largest; clipping puts many there.
        snr_db: the level of the speech above that of the quietest frames, digital silence aside.
        pause_snr_db: the level of the speech above the median of the pauses; None where they are shorter than 0.15 s.
        noise_flatness_db: the mean spectral flatness of the quietest frames: about -2.5 for noise, less for music.
        bandwidth_hz: up to where the spectrum stays within 60 dB of its largest value.
        band_edge_db: how far the spectrum falls within 500 Hz there. A resampler falls steeply, a voice does not.
        offset: the constant part of the samples; full scale is 1.
        channel_difference_db: the level of the quietest channel against that of the loudest; 0 for one channel.
        channel_correlation: the smallest correlation of a channel with the first; 1 for one channel.
        decay_sec: how long 60 dB take at the rate of the fastest fall of its level.
        start_level_db, end_level_db: the level of the first and last 20 ms against that of the speech.
        start_rise_db, end_rise_db: how much louder it is right after the start, and right before the end.
        speech_sec: how much of it is speech. `longest_pause_sec`: the longest pause between two spans of speech.
        non_finite_share: the share of samples that are no number; the other figures take them for zero.
    """

    duration_sec: float
    sample_rate_hz: int
    num_channels: int
    loudness_lufs: float | None
    peak_dbfs: float
    clipped_share: float
    snr_db: float | None
    pause_snr_db: float | None
    noise_flatness_db: float | None
    bandwidth_hz: float | None
    band_edge_db: float | None
    offset: float
    channel_difference_db: float
    channel_correlation: float
    decay_sec: float | None
    start_level_db: float | None
    end_level_db: float | None
    start_rise_db: float | None
    end_rise_db: float | None
    speech_sec: float
    longest_pause_sec: float
    non_finite_share: float

    @property
    def speech_share(self) -> float:
        return self.speech_sec / self.duration_sec if self.duration_sec else 0.0


def measure(channels: Samples, sample_rate_hz: int, spans: Sequence[Span] | None = None) -> SoundMeasures:
    """The figures of sound [T, C] or [T].

    `spans` are those of `speech_spans` of the loudest channel, where they are known already. Raises ModelMissing
    without silero-vad or pyloudnorm.
    """
    columns = channels if channels.ndim == 2 else channels[:, None]
    finite = np.isfinite(columns)
    non_finite_share = 0.0 if finite.all() else float(1 - finite.mean())
    columns = np.where(finite, columns, 0.0) if non_finite_share else columns
    peak = float(np.abs(columns).max(initial=0.0))
    loudest = columns[:, int(np.argmax(columns.var(axis=0)))] if len(columns) else columns[:, 0]
    offset = float(loudest.mean(dtype=np.float64)) if loudest.size else 0.0
    mono = loudest - offset
    largest = float(np.abs(mono).max(initial=0.0))
    scaled = mono / largest if largest > 0 else mono  # so that no figure but loudness and peak depends on the level
    spans = speech_spans(scaled, sample_rate_hz) if spans is None else spans
    levels_db = frame_levels_db(scaled, sample_rate_hz)
    is_speech = _in_spans(spans, len(levels_db))
    speech_db = power_mean_db(levels_db[is_speech])
    spectra = _power_spectra(scaled, sample_rate_hz)
    bandwidth_hz, band_edge_db = _bandwidth(spectra[is_speech[: len(spectra)]], sample_rate_hz)
    difference_db, correlation = compare_channels(columns)
    loudness = loudness_lufs(mono, sample_rate_hz)
    start_level_db, start_rise_db = edge_level(scaled, sample_rate_hz, speech_db)
    end_level_db, end_rise_db = edge_level(scaled[::-1], sample_rate_hz, speech_db)
    return SoundMeasures(
        duration_sec=len(columns) / sample_rate_hz,
        sample_rate_hz=sample_rate_hz,
        num_channels=columns.shape[1],
        loudness_lufs=loudness if np.isfinite(loudness) else None,
        peak_dbfs=20 * float(np.log10(max(peak, 1e-10))),
        clipped_share=clipped_share(loudest),
        snr_db=_snr_db(levels_db, speech_db),
        pause_snr_db=_pause_snr_db(levels_db, is_speech, speech_db),
        noise_flatness_db=_noise_flatness_db(spectra, levels_db, sample_rate_hz),
        bandwidth_hz=bandwidth_hz,
        band_edge_db=band_edge_db,
        offset=offset,
        channel_difference_db=difference_db,
        channel_correlation=correlation,
        decay_sec=_decay_sec(levels_db, speech_db),
        start_level_db=start_level_db,
        end_level_db=end_level_db,
        start_rise_db=start_rise_db,
        end_rise_db=end_rise_db,
        speech_sec=sum(span.duration_sec for span in spans),
        longest_pause_sec=max((after.start_sec - before.end_sec for before, after in pairwise(spans)), default=0.0),
        non_finite_share=non_finite_share,
    )


def faults(measures: SoundMeasures) -> list[tuple[str, str]]:
    """What is wrong with a clip: its kind, and in words with the figure. Empty for a clip that is well."""
    found = [*_broken_samples(measures), *_wrong_length(measures), *_wrong_channels(measures), *_wrong_level(measures)]
    if measures.speech_sec < _FEWEST_SPEECH_SEC:
        return [*found, ("no_speech", f"{measures.speech_sec:.1f} s of speech were found in it")]
    return [*found, *_cut_or_silent(measures), *_wrong_surroundings(measures)]


_FEWEST_SPEECH_SEC = 0.2
_SHORTEST_SEC, _LONGEST_SEC = 1.0, 30.0
_QUIETEST_LUFS = -45.0
_LARGEST_OFFSET = 0.02
_INTEGER_DBFS, _ABOVE_FULL_SCALE_DBFS = 12.0, 0.1
_OPPOSITE = -0.8
_LEAST_SPEECH_SHARE, _LONGEST_PAUSE_SEC = 0.3, 2.0
_MUSIC_SNR_DB, _QUIET_SNR_DB = 20.0, 35.0
_MUSIC_FLATNESS_DB, _PAUSE_FLATNESS_DB = -7.5, -5.0
_JUDGED_SNR_DB, _LONGEST_DECAY_SEC = 20.0, 0.65
_LEAST_BANDWIDTH_HZ, _FULL_BANDWIDTH_HZ, _RESAMPLER_EDGE_DB = 5500.0, 9500.0, 20.0


def _broken_samples(measures: SoundMeasures) -> list[tuple[str, str]]:
    found = []
    if measures.non_finite_share:
        found.append(("not_a_number", f"{measures.non_finite_share:.2%} of its samples are no number"))
    if measures.peak_dbfs > _INTEGER_DBFS:
        peak = 10 ** (measures.peak_dbfs / 20)
        found.append(("integer_samples", f"its samples reach {peak:.0f}: integers stored as floats, full scale is 1"))
    elif measures.peak_dbfs > _ABOVE_FULL_SCALE_DBFS:
        found.append(("above_full_scale", f"its peak is {measures.peak_dbfs:.1f} dB above full scale"))
    return found


def _wrong_length(measures: SoundMeasures) -> list[tuple[str, str]]:
    if measures.duration_sec < _SHORTEST_SEC:
        return [("too_short", f"it lasts {measures.duration_sec:.2f} s, under {_SHORTEST_SEC:.0f} s")]
    if measures.duration_sec > _LONGEST_SEC:
        return [("too_long", f"it lasts {measures.duration_sec:.0f} s, over {_LONGEST_SEC:.0f} s")]
    return []


def _wrong_channels(measures: SoundMeasures) -> list[tuple[str, str]]:
    if measures.channel_difference_db < SILENT_CHANNEL_DB:
        return [("silent_channel", f"a channel is {-measures.channel_difference_db:.0f} dB under the loudest")]
    if measures.channel_correlation < _OPPOSITE:
        correlation = measures.channel_correlation
        return [("reversed_polarity", f"its channels cancel each other (correlation {correlation:.2f})")]
    return []


def _wrong_level(measures: SoundMeasures) -> list[tuple[str, str]]:
    found = []
    if measures.clipped_share > MOST_CLIPPED:
        found.append(("clipped", f"{measures.clipped_share:.1%} of its samples are at the largest value"))
    if measures.loudness_lufs is None:
        found.append(("silent", "it holds no sound"))
    elif measures.loudness_lufs < _QUIETEST_LUFS:
        found.append(("too_quiet", f"its loudness is {measures.loudness_lufs:.0f} LUFS"))
    if abs(measures.offset) > _LARGEST_OFFSET and measures.peak_dbfs < _INTEGER_DBFS:
        found.append(("offset", f"its samples have a mean of {measures.offset:.3f} instead of 0"))
    return found


def _cut_or_silent(measures: SoundMeasures) -> list[tuple[str, str]]:
    found = []
    if measures.duration_sec >= _SHORTEST_SEC and measures.speech_share < _LEAST_SPEECH_SHARE:
        found.append(("mostly_silence", f"only {measures.speech_share:.0%} of it is speech"))
    if measures.longest_pause_sec > _LONGEST_PAUSE_SEC:
        found.append(("long_pause", f"it holds a pause of {measures.longest_pause_sec:.1f} s"))
    limit_db = max(CUT_LEVEL_DB, ABOVE_NOISE_DB - _least_snr_db(measures))
    for edge, level_db, rise_db in (
        ("start", measures.start_level_db, measures.start_rise_db),
        ("end", measures.end_level_db, measures.end_rise_db),
    ):
        if level_db is not None and rise_db is not None and level_db > limit_db and rise_db < CUT_RISE_DB:
            found.append((f"cut_{edge}", f"its {edge} is in the middle of sound, {level_db:+.0f} dB from the speech"))
    return found


def _wrong_surroundings(measures: SoundMeasures) -> list[tuple[str, str]]:
    found = []
    snr_db = measures.snr_db
    if snr_db is not None:
        if _has_music(measures):
            found.append(("music", f"music, hum or voices are {_least_snr_db(measures):.0f} dB under the speech"))
        elif snr_db < LEAST_SNR_DB:
            found.append(("noisy", f"noise is only {snr_db:.0f} dB under the speech"))
        if snr_db > _JUDGED_SNR_DB and measures.decay_sec is not None and measures.decay_sec > _LONGEST_DECAY_SEC:
            found.append(("reverberant", f"its sound takes {measures.decay_sec:.1f} s to fade by 60 dB"))
    return [*found, *_narrow_band(measures)]


def _least_snr_db(measures: SoundMeasures) -> float:
    ratios = (measures.snr_db, measures.pause_snr_db)
    return min((ratio for ratio in ratios if ratio is not None), default=0.0)


def _has_music(measures: SoundMeasures) -> bool:
    """Whether something loud that is no noise lies under the speech, or sounds in its pauses."""
    flatness_db = measures.noise_flatness_db
    if flatness_db is None or measures.snr_db is None:
        return False
    in_pauses = measures.pause_snr_db is not None and measures.pause_snr_db < _MUSIC_SNR_DB
    if in_pauses and measures.snr_db < _QUIET_SNR_DB:  # above that the pauses hold words that were not recognised
        return flatness_db < _PAUSE_FLATNESS_DB
    return measures.snr_db < _MUSIC_SNR_DB and flatness_db < _MUSIC_FLATNESS_DB


def _narrow_band(measures: SoundMeasures) -> list[tuple[str, str]]:
    found = []
    bandwidth_hz = measures.bandwidth_hz
    if bandwidth_hz is not None and (measures.band_edge_db or 0.0) > _RESAMPLER_EDGE_DB:
        promised_hz = measures.sample_rate_hz / 2
        limit_hz = _FULL_BANDWIDTH_HZ if promised_hz > 1.1 * _FULL_BANDWIDTH_HZ else _LEAST_BANDWIDTH_HZ
        if bandwidth_hz < min(limit_hz, 0.9 * promised_hz):
            rate_hz = measures.sample_rate_hz
            found.append(("narrow_band", f"it holds sound up to {bandwidth_hz:.0f} Hz though its rate is {rate_hz} Hz"))
    return found


def _in_spans(spans: Sequence[Span], num_frames: int) -> NDArray[np.bool_]:
    inside = np.zeros(num_frames, bool)
    for span in spans:
        inside[round(span.start_sec / FRAME_SEC) : round(span.end_sec / FRAME_SEC)] = True
    return inside


def _snr_db(levels_db: Levels, speech_db: float | None) -> float | None:
    """Speech above the quietest 2 % of frames; digital silence says nothing of the noise under the speech."""
    sounding = levels_db[levels_db > SILENT_DB]
    if speech_db is None or len(sounding) < _FEWEST_FRAMES:
        return None
    return speech_db - float(np.percentile(sounding, 2))


def _pause_snr_db(levels_db: Levels, is_speech: NDArray[np.bool_], speech_db: float | None) -> float | None:
    """Speech above the median of the pauses without their outer 50 ms, where speech may still fade."""
    if speech_db is None:
        return None
    pause_db = levels_db[~binary_dilation(is_speech, iterations=_FADE_FRAMES)]
    if len(pause_db) < _FEWEST_PAUSE_FRAMES:
        return None
    return speech_db - float(np.median(pause_db))


def _power_spectra(mono: Samples, sample_rate_hz: int) -> Levels:
    """Power spectra [F, B] of windows of 20 ms, one every 10 ms; none where the sound is shorter than one."""
    width, hop = round(2 * FRAME_SEC * sample_rate_hz), max(1, round(FRAME_SEC * sample_rate_hz))
    if mono.size < width:
        return np.zeros((0, width // 2 + 1))
    frames = np.lib.stride_tricks.sliding_window_view(mono, width)[::hop]
    return np.square(np.abs(np.fft.rfft(frames * get_window("hann", width), axis=1)))


def _noise_flatness_db(spectra: Levels, levels_db: Levels, sample_rate_hz: int) -> float | None:
    """Geometric over arithmetic mean of the spectrum from 200 to 3600 Hz, over the quietest 15 % of frames."""
    levels_db, spectra = levels_db[: len(spectra)], spectra[: len(levels_db)]
    sounding = levels_db > SILENT_DB
    if np.count_nonzero(sounding) < _FEWEST_FRAMES:
        return None
    quiet = sounding & (levels_db <= np.percentile(levels_db[sounding], 15))
    bin_hz = sample_rate_hz / 2 / (spectra.shape[1] - 1)
    band = spectra[quiet, round(_LOWEST_TONAL_HZ / bin_hz) : round(_HIGHEST_TONAL_HZ / bin_hz)] + 1e-20
    return float(np.mean(10 * (np.mean(np.log10(band), axis=1) - np.log10(band.mean(axis=1)))))


def _bandwidth(speech_spectra: Levels, sample_rate_hz: int) -> tuple[float | None, float | None]:
    """The bandwidth and how steeply it ends; each bin counts with its 95th percentile, so a few fricatives fill it."""
    if len(speech_spectra) < _FEWEST_FRAMES:
        return None, None
    spectrum_db = 10 * np.log10(np.percentile(speech_spectra, 95, axis=0) + 1e-20)
    bin_hz = sample_rate_hz / 2 / (len(spectrum_db) - 1)
    highest = int(np.flatnonzero(spectrum_db > spectrum_db.max() - _BAND_RANGE_DB)[-1])
    step = max(1, round(_BAND_STEP_HZ / bin_hz))
    falls_db = spectrum_db[:-step] - spectrum_db[step:]
    return highest * bin_hz, float(falls_db[max(0, highest - 2 * step) : highest + step].max(initial=0.0))


def _decay_sec(levels_db: Levels, speech_db: float | None) -> float | None:
    """60 dB over the steepest line through 0.2 s of levels that begin within 10 dB of the speech.

    Speech itself falls faster than most rooms somewhere, so its fastest fall shows the room (the idea of Ratnam et al.,
    "Blind estimation of reverberation time", 2003).
    """
    if speech_db is None or len(levels_db) < 2 * _FALL_FRAMES:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(levels_db, _FALL_FRAMES)
    windows = windows[windows[:, 0] > speech_db - 10]
    if len(windows) < _FALL_FRAMES:
        return None
    centred = np.arange(_FALL_FRAMES) - (_FALL_FRAMES - 1) / 2
    slopes_db_per_sec = windows @ centred / np.square(centred).sum() / FRAME_SEC
    steepest = -float(slopes_db_per_sec.min())
    return min(60 / steepest, 10.0) if steepest > 0 else None
