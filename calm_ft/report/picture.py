"""Mel spectrograms one under the other, to compare recording, base and tuned model by eye.

Rows share the colour scale, dB below the row's own loudest point, so that a difference in level does not look like a
difference in speech. They share the time axis too, as far as that leaves every clip readable: a clip much longer than
the others is cut, and one much shorter has an axis of its own; both are said in the row's title.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import librosa
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from calm_ft.atomic_file import atomic_path
from calm_ft.metrics.audio_io import AudioLike, as_mono

RANGE_DB = 70.0
LONGEST, SHORTEST = 1.5, 0.4
"""A shared axis ends at `LONGEST` times the median clip; a clip below `SHORTEST` of it has an axis of its own."""
_NUM_MEL_BANDS = 80
_TITLE_COLUMNS = 110
_WINDOW_SEC, _HOP_SEC = 0.032, 0.008


def spectrogram_figure(rows: Sequence[tuple[str, AudioLike]], sample_rate_hz: int, path: str | Path) -> None:
    """Write a PNG with one mel spectrogram for each (title, audio [T]); silent and empty audio gives an empty
    row.

    Raises ValueError if there is no row.
    """
    if not rows:
        raise ValueError("a picture needs at least one clip")
    titles = [textwrap.wrap(title, _TITLE_COLUMNS) or [""] for title, _ in rows]
    title_inches = 0.17 * sum(len(lines) - 1 for lines in titles)
    figure = Figure(figsize=(10, 0.8 + 2.0 * len(rows) + title_inches), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = [axes for (axes,) in figure.subplots(len(rows), 1, sharey=True, squeeze=False)]
    clips = [as_mono(audio) for _, audio in rows]
    shared_sec = shared_axis_sec([clip.size / sample_rate_hz for clip in clips])
    for axes, lines, clip in zip(all_axes, titles, clips, strict=True):
        mesh = _draw(axes, clip, sample_rate_hz)
        shown_sec, remark = axis_of_clip(clip.size / sample_rate_hz, shared_sec)
        axes.set_xlim(0, max(shown_sec, _HOP_SEC))
        axes.set_title("\n".join(lines) + (f"  ({remark})" if remark else ""), loc="left", fontsize=10)
        axes.set_ylabel("frequency (kHz, mel)", fontsize=8)
    all_axes[-1].set_xlabel("time (s)")
    figure.colorbar(mesh, ax=all_axes, label="dB below the row's loudest point", aspect=40)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def shared_axis_sec(durations_sec: Sequence[float]) -> float:
    """How much time the pictures of clips that are compared show; 0 where all are empty."""
    audible = [each for each in durations_sec if each > 0]
    return min(LONGEST * float(np.median(audible)), max(audible)) if audible else 0.0


def axis_of_clip(duration_sec: float, shared_sec: float) -> tuple[float, str]:
    """How much time a clip's picture shows, and what must be said of it where that differs from the others."""
    if duration_sec > shared_sec + 1e-6:
        return shared_sec, f"cut here, goes on to {duration_sec:.1f} s"
    if 0 < duration_sec < SHORTEST * shared_sec:
        return duration_sec, "on a time scale of its own"
    return shared_sec, ""


def spectrogram_pixels(audio: AudioLike, sample_rate_hz: int) -> np.ndarray:
    """A mel spectrogram without axes as [160, F, 3] bytes: time to the right by 8 ms, low frequencies at the bottom.

    It takes a few milliseconds, and so suits one picture for each of many clips.
    """
    level_db = mel_spectrogram_db(as_mono(audio), sample_rate_hz, round(_HOP_SEC * sample_rate_hz))
    colours = matplotlib.colormaps["magma"](1 + level_db[::-1] / RANGE_DB, bytes=True)
    return np.asarray(colours[..., :3]).repeat(2, axis=0)


def _draw(axes: Axes, clip: np.ndarray, sample_rate_hz: int) -> QuadMesh:
    hop_samples = round(_HOP_SEC * sample_rate_hz)
    level_db = mel_spectrogram_db(clip, sample_rate_hz, hop_samples)
    time_sec = np.arange(level_db.shape[1]) * hop_samples / sample_rate_hz
    mesh = axes.pcolormesh(
        time_sec, np.arange(_NUM_MEL_BANDS), level_db, vmin=-RANGE_DB, vmax=0, cmap="magma", rasterized=True
    )
    axes.set_facecolor("0.9")  # past a clip's end: no sound, not silence
    frequency_hz = librosa.mel_frequencies(_NUM_MEL_BANDS, fmax=sample_rate_hz / 2)
    ticks_khz = [f for f in (0.5, 1, 2, 4, 8) if f * 1000 <= sample_rate_hz / 2]
    axes.set_yticks(np.interp([1000 * f for f in ticks_khz], frequency_hz, np.arange(_NUM_MEL_BANDS)))
    axes.set_yticklabels([f"{f:g}" for f in ticks_khz], fontsize=8)
    return mesh


def mel_spectrogram_db(clip: np.ndarray, sample_rate_hz: int, hop_samples: int) -> np.ndarray:
    """[80, F] in dB below the loudest point; all at the bottom of the scale for silence."""
    fft_samples = 2048 if sample_rate_hz > 16_000 else 1024
    power = librosa.feature.melspectrogram(
        y=librosa.util.fix_length(clip, size=max(clip.size, fft_samples)),
        sr=sample_rate_hz,
        n_fft=fft_samples,
        win_length=round(_WINDOW_SEC * sample_rate_hz),
        hop_length=hop_samples,
        n_mels=_NUM_MEL_BANDS,
        pad_mode="constant",
    )
    if power.max() == 0:
        return np.full_like(power, -RANGE_DB)
    return librosa.power_to_db(power, ref=float(power.max()), top_db=RANGE_DB, amin=1e-20)
