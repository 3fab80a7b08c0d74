"""Speech of the demo voice with pauses of known lengths: what is found, and where it is cut."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.config import ASSETS
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.recording_quality import frame_levels_db
from calm_ft.preparation.clips import Span
from calm_ft.preparation.sound.voice_activity import _model, clip_spans, speech_spans

RATE_HZ = 16_000
PAUSES_SEC = (0.5, 1.0, 0.3, 2.0, 0.7)


def words(number: int) -> np.ndarray:
    """A clip of the demo voice without the silence at its ends."""
    samples, rate_hz = soundfile.read(ASSETS / "demo_voice" / "train" / f"{number:03}.ogg")
    assert rate_hz == RATE_HZ
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1] + 1]


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, list[Span]]:
    """Six clips between pauses of room noise, and where each lies."""
    parts, spans, time_sec = [np.zeros(RATE_HZ // 2)], [], 0.5
    for number, pause_sec in enumerate((*PAUSES_SEC, 0.5)):
        clip = words(number)
        spans.append(Span(time_sec, time_sec + len(clip) / RATE_HZ))
        parts += [clip, np.zeros(round(pause_sec * RATE_HZ))]
        time_sec = spans[-1].end_sec + pause_sec
    samples = np.concatenate(parts)
    return samples + np.random.default_rng(0).normal(size=samples.size) * 0.0005, spans


def has_edges(found: list[Span], planted: list[Span], tolerance_sec: float = 0.1) -> bool:
    starts, ends = [span.start_sec for span in found], [span.end_sec for span in found]
    return all(
        min(abs(start - span.start_sec) for start in starts) < tolerance_sec
        and min(abs(end - span.end_sec) for end in ends) < tolerance_sec
        for span in planted
    )


def test_the_edges_of_every_planted_pause_are_found(speech):
    samples, planted = speech
    assert has_edges(speech_spans(samples.astype(np.float32), RATE_HZ), planted)


@pytest.mark.parametrize("rate_hz", [8000, 44_100])
def test_edges_are_found_at_other_rates(speech, rate_hz):
    samples, planted = speech
    at_rate = np.interp(np.arange(0, len(samples) / RATE_HZ, 1 / rate_hz), np.arange(len(samples)) / RATE_HZ, samples)
    assert has_edges(speech_spans(at_rate, rate_hz), planted)


def test_speech_40_db_quieter_has_the_same_spans(speech):
    samples, _ = speech
    assert speech_spans(samples * 0.01, RATE_HZ) == speech_spans(samples, RATE_HZ)


def test_no_pause_is_lost_where_blocks_meet(speech, monkeypatch):
    samples, planted = speech
    monkeypatch.setattr("calm_ft.preparation.sound.voice_activity._BLOCK_FRAMES", 100)
    assert has_edges(speech_spans(samples, RATE_HZ), planted, tolerance_sec=0.15)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(RATE_HZ), np.zeros(3)])
def test_silence_holds_no_speech(samples):
    assert speech_spans(samples, RATE_HZ) == []


def test_torch_keeps_its_number_of_threads(speech):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        speech_spans(speech[0], RATE_HZ)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_level_of_a_sine_is_its_power():
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ) + 0.3
    levels_db = frame_levels_db(sine, RATE_HZ)
    assert len(levels_db) == 100
    np.testing.assert_allclose(levels_db[20:], 10 * np.log10(0.5**2 / 2), atol=0.1)


def test_clips_hold_every_span_once_and_share_no_sound(speech):
    samples, _ = speech
    spans = speech_spans(samples, RATE_HZ)
    clips = clip_spans(samples, RATE_HZ, spans, min_sec=2.0, max_sec=6.0)
    for span in spans:
        assert sum(clip.start_sec <= span.start_sec and span.end_sec <= clip.end_sec for clip in clips) == 1
    assert all(before.end_sec <= after.start_sec for before, after in pairwise(clips))
    assert all(clip.duration_sec <= 6.0 for clip in clips)
    assert clips[0].start_sec >= 0
    assert clips[-1].end_sec <= len(samples) / RATE_HZ


def test_a_cut_lies_in_the_middle_of_a_short_pause():
    spans = [Span(0.1, 3.0), Span(3.2, 6.0)]
    clips = clip_spans(np.zeros(7 * RATE_HZ), RATE_HZ, spans, max_sec=4.0)
    assert clips[0].end_sec == pytest.approx(3.1)
    assert clips[1].start_sec == pytest.approx(3.1)


def test_short_spans_are_joined_to_the_nearer_neighbour():
    spans = [Span(0.0, 3.0), Span(3.4, 3.9), Span(7.0, 10.0)]
    clips = clip_spans(np.zeros(11 * RATE_HZ), RATE_HZ, spans)
    assert [round(clip.end_sec, 2) for clip in clips] == [4.05, 10.15]


def test_long_speech_is_cut_only_where_it_dips():
    noise = np.random.default_rng(0).normal(size=30 * RATE_HZ) * 0.1
    spans = [Span(0.0, 30.0)]
    assert len(clip_spans(noise, RATE_HZ, spans)) == 1
    noise[round(14 * RATE_HZ) : round(14.08 * RATE_HZ)] *= 0.01
    clips = clip_spans(noise, RATE_HZ, spans)
    assert len(clips) == 2
    assert clips[0].end_sec == pytest.approx(14.04, abs=0.03)


@pytest.mark.parametrize("package", ["silero_vad", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra(monkeypatch, package):
    """None in sys.modules makes an import fail as if the package were not there."""
    _model.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelMissing, match=f"{package} is not installed: install the extra `preparation`"):
        speech_spans(np.zeros(RATE_HZ), RATE_HZ)
    _model.cache_clear()
