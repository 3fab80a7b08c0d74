"""Mel spectrograms one under the other, to compare recording, base and tuned model by eye.

All rows share the time axis and the colour scale: dB below the row's own loudest point, so that a difference
in level does not look like a difference in speech.
"""

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
_NUM_MEL_BANDS = 80
_WINDOW_SEC, _HOP_SEC = 0.032, 0.008


def spectrogram_figure(rows: Sequence[tuple[str, AudioLike]], sample_rate_hz: int, path: str | Path) -> None:
    """Write a PNG with one mel spectrogram for each (title, audio [T]); silent and empty audio gives an empty
    row.

    Raises ValueError if there is no row.
    """
    if not rows:
        raise ValueError("a picture needs at least one clip")
    figure = Figure(figsize=(10, 0.8 + 2.0 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = [axes for (axes,) in figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)]
    clips = [as_mono(audio) for _, audio in rows]
    for axes, (title, _), clip in zip(all_axes, rows, clips, strict=True):
        mesh = _draw(axes, clip, sample_rate_hz)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel("frequency (kHz, mel)", fontsize=8)
    longest_sec = max(clip.size for clip in clips) / sample_rate_hz
    all_axes[-1].set_xlim(0, max(longest_sec, _HOP_SEC))
    all_axes[-1].set_xlabel("time (s)")
    figure.colorbar(mesh, ax=all_axes, label="dB below the row's loudest point", aspect=40)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


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
