"""Measuring clips: nothing twice, nothing missing without a reason."""

from pathlib import Path
from typing import Self

import numpy as np
import pytest

from calm_ft.evaluation.clips import Spoken, recorded
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.evaluation.scoring import score
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, SpeechClip
from calm_ft.metrics.distortion import Distortion
from calm_ft.metrics.sound import Sound
from tests.evaluation.conftest import references, spoken
from tests.metrics.conftest import recording, voiced


class Loudness(Metric):
    """Counts how often it is asked."""

    figures = (Figure("loudness", "1", "lower", "how loud"),)
    identity = "loudness-1"
    times_asked = 0

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls()

    def _measure(self, clip: SpeechClip) -> Measurement:
        self.times_asked += 1
        return {"loudness": float(np.abs(clip.audio).max())}


def test_numbers_are_missing_only_with_a_reason() -> None:
    clips = [spoken("tuned", np.zeros(0)), spoken("base", voiced(120)), references()[0]]
    for result in score(clips, references(), [Distortion(), Sound()], {"wer": "no recogniser."}, ScoreCache()):
        nulls = {name for name, value in result.metrics.items() if value is None}
        assert nulls == result.missing.keys() >= {"wer"}
        assert all(reason.strip() for reason in result.missing.values())


def test_only_what_was_generated_and_timed_has_times() -> None:
    untimed = Spoken(**{**vars(spoken("tuned", voiced(120))), "timing": None})
    clips = [spoken("tuned", voiced(120)), untimed, references()[0]]
    timed, other, reference = score(clips, references(), [], {}, ScoreCache())
    assert timed.metrics == {"rtf": 0.5, "time_to_first_audio_sec": 0.1}
    assert "not among the sentences that were timed" in other.missing["rtf"]
    assert "not generated" in reference.missing["rtf"]


def test_what_was_measured_is_measured_again_only_for_another_clip_or_version(tmp_path: Path) -> None:
    metric, clip, louder = Loudness(), spoken("tuned", voiced(120)), spoken("tuned", 2 * voiced(120))
    for clips in ([clip], [clip], [clip, louder]):
        cache = ScoreCache(tmp_path / "scores.json")
        score(clips, references(), [metric], {}, cache)
        cache.save()
    assert metric.times_asked == 2
    score([clip, louder], references(), [metric], {}, ScoreCache(None, [tmp_path / "scores.json"]))
    assert metric.times_asked == 2
    metric.identity = "loudness-2"
    score([clip], references(), [metric], {}, ScoreCache(tmp_path / "scores.json"))
    assert metric.times_asked == 3


@pytest.mark.parametrize("content", ["[1, ", "[]", '{"a": 1}'])
def test_a_damaged_cache_counts_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(content)
    metric = Loudness()
    score([spoken("tuned", voiced(120))], references(), [metric], {}, ScoreCache(tmp_path / "scores.json"))
    assert metric.times_asked == 1


def test_scores_of_what_is_said_no_more_are_forgotten(tmp_path: Path) -> None:
    sizes = []
    for loudness in (1, 2, 3):
        cache = ScoreCache(tmp_path / "scores.json")
        score([spoken("tuned", loudness * voiced(120))], references(), [Loudness()], {}, cache)
        cache.save()
        sizes.append((tmp_path / "scores.json").stat().st_size)
    assert max(sizes) - min(sizes) < 0.5 * min(sizes)


def test_a_recording_at_another_rate_is_compared_at_the_clips_rate() -> None:
    text, audio, rate_hz = recording()
    halved = recorded("reference", 0, text, audio[::2], rate_hz // 2)
    clip = recorded("tuned", 0, text, audio, rate_hz)
    (result,) = score([clip], {0: halved}, [Distortion()], {}, ScoreCache())
    assert result.metrics["duration_ratio"] == pytest.approx(1.0, abs=0.05)
