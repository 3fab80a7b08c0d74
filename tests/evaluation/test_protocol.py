"""The protocol with systems of which the answer is known: a perfect one, a silent one, one that never ends."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from calm_ft.evaluation.protocol import Scored, Spoken, choose_sentences, recorded, score
from calm_ft.report.records import write_records

from calm_ft.data.utterance import Utterance
from calm_ft.evaluation.kept_audio import Timing
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.evaluation.summary import summarize
from calm_ft.metrics.audio_io import wav_bytes
from calm_ft.metrics.base import Clip, Figure, Measurement, Metric
from calm_ft.metrics.distortion import Distortion
from calm_ft.metrics.sound import Sound
from tests.metrics.signals import RATE_HZ, recording, voiced

NUM_SENTENCES = 7
TIMING = Timing(0.5, 0.1, 1.0, "one machine", "2026-01-01T00:00:00+00:00")


class Loudness(Metric):
    """Counts how often it is asked."""

    figures = (Figure("loudness", "1", "lower"),)
    identity = "loudness-1"
    times_asked = 0

    def _measure(self, clip: Clip) -> Measurement:
        self.times_asked += 1
        return {"loudness": float(np.abs(clip.audio).max())}


def spoken(system: str, audio: np.ndarray, index: int = 0, seed: int = 0, ended: bool = True) -> Spoken:
    return Spoken(system, index, seed, f"text {index}", wav_bytes(audio, RATE_HZ), RATE_HZ, ended, TIMING)


def references() -> dict[int, Spoken]:
    audio = np.concatenate([voiced(120), np.zeros(RATE_HZ // 10)])
    return {index: recorded("reference", index, f"text {index}", audio, RATE_HZ) for index in range(NUM_SENTENCES)}


def scored(clips: Sequence[Spoken], *metrics: Metric) -> list[Scored]:
    return score(clips, references(), metrics or (Distortion(), Sound()), {"wer": "no recogniser."}, ScoreCache())


@pytest.mark.parametrize(
    ("audio", "ended", "flag"),
    [
        (np.concatenate([voiced(120, 1.0), np.zeros(RATE_HZ // 10)]), True, None),
        (np.zeros(0), True, "silent"),
        (np.zeros(RATE_HZ), True, "silent"),
        (np.concatenate([voiced(120, 1.0), np.zeros(RATE_HZ // 10)]), False, "runaway"),
        (np.concatenate([voiced(120, 4.0), np.zeros(RATE_HZ // 10)]), True, "runaway"),
        (voiced(120, 1.0), True, "truncated"),
        (np.concatenate([voiced(120, 0.3), np.zeros(RATE_HZ // 10)]), True, "truncated"),
    ],
)
def test_what_went_wrong_with_a_clip_is_flagged(audio: np.ndarray, ended: bool, flag: str | None) -> None:
    (result,) = scored([spoken("tuned", audio, ended=ended)])
    assert [name for name, raised in result.flags.items() if raised] == ([] if flag is None else [flag])


def test_numbers_are_null_only_with_a_reason() -> None:
    for result in scored([spoken("tuned", np.zeros(0)), spoken("base", voiced(120)), references()[0]]):
        nulls = {name for name, value in result.metrics.items() if value is None}
        assert nulls == result.missing.keys()
        assert all(reason.strip() for reason in result.missing.values())


def test_a_system_that_is_closer_to_the_recordings_is_better_and_no_other_is() -> None:
    rng = np.random.default_rng(0)
    good = [spoken("tuned", voiced(120) + 0.001 * rng.standard_normal(RATE_HZ), i) for i in range(NUM_SENTENCES)]
    bad = [spoken("base", voiced(120) + 0.05 * rng.standard_normal(RATE_HZ), i) for i in range(NUM_SENTENCES)]
    clips = scored([*references().values(), *good, *bad])
    summary = summarize("run", clips, [*Distortion.figures, *Sound.figures], {}, {})
    assert summary["against_base"].keys() == {"tuned"}
    assert summary["against_base"]["tuned"]["mcd_db"]["better"] is True
    assert summary["against_base"]["tuned"]["duration_ratio"]["better"] is None
    assert summary["systems"]["reference"]["metrics"]["mcd_db"]["mean"] == 0.0
    assert summary["systems"]["reference"]["rtf"] is None
    assert summary["systems"]["tuned"]["rtf"] == pytest.approx(0.5)
    reversed_roles = [*good, *bad]
    swapped = [Scored(_renamed(each.spoken), each.metrics, each.missing, each.flags) for each in scored(reversed_roles)]
    worse = summarize("run", swapped, Distortion.figures, {}, {})["against_base"]["tuned"]["mcd_db"]
    assert worse["better"] is False
    assert worse["low"] > 0


def _renamed(clip: Spoken) -> Spoken:
    other = {"tuned": "base", "base": "tuned"}[clip.system]
    return Spoken(other, clip.index, clip.seed, clip.text, clip.wav, clip.sample_rate_hz)


def test_one_runaway_moves_the_mean_and_not_the_median() -> None:
    audios = [voiced(120)] * (NUM_SENTENCES - 1) + [voiced(120, 10.0)]
    clips = scored([spoken("tuned", audio, index) for index, audio in enumerate(audios)])
    figure = summarize("run", clips, Distortion.figures, {}, {})["systems"]["tuned"]["metrics"]["duration_ratio"]
    assert figure["median"] == pytest.approx(1.0, abs=0.02)
    assert figure["mean"] > 2


def test_files_hold_every_clip_and_an_earlier_evaluation_leaves_none_behind(tmp_path: Path) -> None:
    many = scored([spoken("tuned", voiced(120), index) for index in range(3)])
    few = many[:1]
    for clips in (many, few):
        write_records(tmp_path, clips, summarize("run", clips, Distortion.figures, {"wer": "no recogniser."}, {}))
    rows = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    assert [row["audio"] for row in rows] == ["audio/tuned_000_0.wav"]
    assert rows[0].keys() == {"system", "voice", "index", "seed", "text", "audio", "metrics", "missing", "flags"}
    assert [path.name for path in (tmp_path / "audio").iterdir()] == ["tuned_000_0.wav"]
    figure = json.loads((tmp_path / "summary.json").read_text())["systems"]["tuned"]["metrics"]["mcd_db"]
    assert (figure["n"], figure["low"], figure["high"]) == (1, None, None)


def test_what_was_measured_is_measured_again_only_for_another_clip_or_version(tmp_path: Path) -> None:
    metric, clip, louder = Loudness(), spoken("tuned", voiced(120)), spoken("tuned", 2 * voiced(120))
    for clips in ([clip], [clip], [clip, louder]):
        cache = ScoreCache(tmp_path / "scores.json")
        score(clips, references(), [metric], {}, cache)
        cache.save()
    assert metric.times_asked == 2
    metric.identity = "loudness-2"
    score([clip], references(), [metric], {}, ScoreCache(tmp_path / "scores.json"))
    assert metric.times_asked == 3


def test_a_damaged_cache_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("[1, ")
    metric = Loudness()
    score([spoken("tuned", voiced(120))], references(), [metric], {}, ScoreCache(tmp_path / "scores.json"))
    assert metric.times_asked == 1


def test_the_choice_of_sentences_is_fixed_by_the_seed_and_is_not_the_first_ones() -> None:
    listed = [Utterance(f"{index:02d}", Path(f"{index}.wav"), f"sentence {index}") for index in range(30)]
    chosen = choose_sentences(listed, 8, seed=0)
    assert chosen == choose_sentences(listed, 8, seed=0) == sorted(chosen, key=lambda each: each.id)
    assert len(chosen) == 8
    assert chosen != listed[:8]
    assert chosen != choose_sentences(listed, 8, seed=1)
    assert set(each.id for each in chosen) < set(each.id for each in choose_sentences(listed, 12, seed=0))


def test_a_sentence_that_is_listed_twice_is_taken_once() -> None:
    listed = [Utterance("a", Path("a.wav"), "same"), Utterance("b", Path("b.wav"), "same")]
    assert [each.id for each in choose_sentences(listed, 8, seed=0)] == ["a"]


def test_a_recording_at_another_rate_is_compared_at_the_clips_rate() -> None:
    text, audio, rate_hz = recording()
    halved = recorded("reference", 0, text, audio[::2], rate_hz // 2)
    clip = recorded("tuned", 0, text, audio, rate_hz)
    (result,) = score([clip], {0: halved}, [Distortion()], {}, ScoreCache())
    assert result.metrics["duration_ratio"] == pytest.approx(1.0, abs=0.05)
