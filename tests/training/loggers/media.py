"""A recording and a picture to show."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from calm_ft.metrics.audio_io import write_wav


def write_media(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """A quarter of a second of a tone as audio, an empty plot as picture, under the names of samples."""
    tone, picture = folder / "tone.wav", folder / "plot.png"
    write_wav(tone, 0.5 * np.sin(np.arange(2000) * 0.3), 8000)
    Figure(figsize=(2, 1)).savefig(picture)
    return {"samples/sentence_00": tone}, {"samples/spectrograms": picture}
