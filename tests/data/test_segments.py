"""Segments of one long file on their way through the cache."""

from collections import Counter

import numpy as np
import pytest
import torch

from calm_ft.data import prepare
from calm_ft.data.utterance import Utterance


@pytest.fixture
def segments(write_clip, make_tone):
    """Three seconds of one file, each of its own loudness, and the whole file."""
    path = write_clip("long.wav", np.concatenate([make_tone(1.0, amplitude=level) for level in (0.1, 0.2, 0.3)]))
    parts = [Utterance(f"long@{n}", path, "text", start_sec=float(n), end_sec=n + 1.0) for n in range(3)]
    return [*parts, Utterance("long", path, "text")]


def test_each_segment_has_features_of_its_own_and_a_second_run_finds_them(segments, encode, encoder):
    first = encode(segments, tail_sec=0.0)
    assert [clip.duration_sec for clip in first.encoded] == [1.0, 1.0, 1.0, 3.0]
    means = [float(clip.features()["latents"].mean()) for clip in first.encoded[:3]]
    assert means == pytest.approx([0.005, 0.02, 0.045], rel=1e-2)
    second = encode(segments, tail_sec=0.0)
    assert (second.num_encoded, encoder.num_clips) == (0, 4)
    for before, after in zip(first.encoded, second.encoded, strict=True):
        assert torch.equal(before.features()["latents"], after.features()["latents"])


def test_a_file_is_hashed_once_however_many_segments_it_holds(segments, encode, monkeypatch):
    hashed: Counter[str] = Counter()
    file_digest = prepare._file_digest

    def hash_and_note(path):
        hashed[path.name] += 1
        return file_digest(path)

    monkeypatch.setattr(prepare, "_file_digest", hash_and_note)
    encode(segments)
    assert hashed == {"long.wav": 1}


def test_the_limit_of_duration_is_for_the_segment_and_not_for_its_file(segments, encode):
    result = encode(segments, tail_sec=0.0, max_duration_sec=1.5)
    assert [clip.utterance.id for clip in result.encoded] == ["long@0", "long@1", "long@2"]
    assert [e.reason for e in result.exclusions] == ["the clip lasts 3.0 s, longer than the limit of 1.5 s"]


def test_a_segment_that_the_file_does_not_hold_is_excluded_with_the_reason(segments, encode):
    outside = Utterance("outside", segments[0].audio_path, "text", start_sec=5.0, end_sec=6.0)
    (exclusion,) = encode([*segments, outside]).exclusions
    assert exclusion.reason == "the segment from 5.00 to 6.00 s is not within the audio of 3.00 s"
