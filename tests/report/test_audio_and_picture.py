"""Files that are written whole or not at all, and the picture of spectrograms."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from calm_ft.atomic_file import atomic_path
from calm_ft.metrics.audio_io import AudioLike
from calm_ft.report.picture import axis_of_clip, shared_axis_sec, spectrogram_figure
from tests.metrics.conftest import SAMPLE_RATE_HZ, SENTENCES, speak


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_picture_has_a_row_for_each_clip_even_a_silent_one(tmp_path):
    clip = speak(SENTENCES[0], "Annie")
    one, three = tmp_path / "one.png", tmp_path / "three.png"
    spectrogram_figure([("recording", clip)], SAMPLE_RATE_HZ, one)
    rows: list[tuple[str, AudioLike]] = [
        ("recording", clip),
        ("base", np.zeros(0)),
        ("tuned", torch.zeros(1, 8000)),
    ]
    spectrogram_figure(rows, SAMPLE_RATE_HZ, three)
    assert imread(three).shape[0] > 1.8 * imread(one).shape[0]
    assert imread(three)[..., :3].std() > 0.1
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "three.png"}


def test_a_pictures_long_titles_wrap_and_its_short_clips_are_not_shrunk(tmp_path):
    clip = speak(SENTENCES[0], "Annie")
    assert shared_axis_sec([2.0, 2.2, 12.0, 0.0]) == pytest.approx(1.5 * 2.2)
    assert axis_of_clip(12.0, 3.3) == (3.3, "cut here, goes on to 12.0 s")
    assert axis_of_clip(0.5, 3.3) == (0.5, "on a time scale of its own")
    assert axis_of_clip(2.0, 3.3) == (3.3, "")
    assert shared_axis_sec([]) == shared_axis_sec([0.0]) == 0.0
    short, long = tmp_path / "short.png", tmp_path / "long.png"
    spectrogram_figure([("tuned", clip), ("base", clip[: clip.size // 5])], SAMPLE_RATE_HZ, short)
    spectrogram_figure([("tuned: " + "a long sentence " * 20, clip), ("base", clip)], SAMPLE_RATE_HZ, long)
    assert imread(long).shape[1] == imread(short).shape[1]
    assert imread(long).shape[0] > imread(short).shape[0]


def test_a_picture_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one clip"):
        spectrogram_figure([], SAMPLE_RATE_HZ, tmp_path / "none.png")
