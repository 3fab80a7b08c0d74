"""What went wrong with a clip."""

import numpy as np
import pytest

from calm_ft.evaluation.clips import recorded
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.evaluation.scoring import score
from calm_ft.metrics.distortion import Distortion
from calm_ft.metrics.sound import Sound
from tests.evaluation.conftest import references, spoken
from tests.metrics.conftest import RATE_HZ, voiced

PAUSE = np.zeros(RATE_HZ // 10)


@pytest.mark.parametrize(
    ("audio", "ended", "flag"),
    [
        (np.concatenate([voiced(120, 1.0), PAUSE]), True, None),
        (np.zeros(0), True, "silent"),
        (np.zeros(RATE_HZ), True, "silent"),
        (np.full(RATE_HZ, np.nan), True, "silent"),
        (np.concatenate([voiced(120, 1.0), PAUSE]), False, "runaway"),
        (np.concatenate([voiced(120, 4.0), PAUSE]), True, "runaway"),
        (voiced(120, 1.0), True, "truncated"),
        (np.concatenate([voiced(120, 0.3), PAUSE]), True, "truncated"),
    ],
)
def test_what_went_wrong_with_a_clip_is_flagged(audio: np.ndarray, ended: bool, flag: str | None) -> None:
    (result,) = score([spoken("tuned", audio, ended=ended)], references(), [Distortion(), Sound()], {}, ScoreCache())
    assert [name for name, raised in result.flags.items() if raised] == ([] if flag is None else [flag])
    assert result.figures.items() >= {name: float(raised) for name, raised in result.flags.items()}.items()


def test_clips_of_one_sentence_in_several_voices_have_files_of_their_own() -> None:
    clips = [recorded("base", 1, "a", PAUSE, RATE_HZ, voice) for voice in (None, "anna", "ben")]
    assert [clip.name for clip in clips] == ["base_001_0.wav", "base_anna_001_0.wav", "base_ben_001_0.wav"]
