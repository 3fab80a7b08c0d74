"""Recordings that cannot train as they are become a dataset before a run, and tidy ones are left as they are."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from calm_ft.config import compose_config, experiment_from
from calm_ft.training.prepare import read_sources
from calm_ft.training.settings import DataSettings
from tests.training.tiny_run import copy_short_clips

NUM_CLIPS = 14


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return copy_short_clips(tmp_path / "voice", NUM_CLIPS)


def settings(recordings: Path, **others: Any) -> DataSettings:
    limits: dict[str, Any] = {
        "max_duration_sec": 30.0,
        "validation_fraction": 0.1,
        "max_frames_per_batch": 100,
        "max_batch_size": 2,
    }
    return DataSettings(path=str(recordings), cache_dir=str(recordings.parent / "cache/features"), **limits, **others)


def add_long_recording(recordings: Path) -> None:
    """One without text, of the same voice, longer than all clips together."""
    clips = sorted(recordings.glob("*.ogg"))
    rate_hz = soundfile.info(clips[0]).samplerate
    pause = np.zeros(rate_hz // 2)
    pieces = [part for clip in clips for part in (soundfile.read(clip)[0], pause)]
    soundfile.write(recordings / "interview.wav", np.concatenate(pieces * 2), rate_hz)


@pytest.mark.slow
def test_a_long_recording_without_text_is_prepared_first_and_the_minutes_are_said(recordings: Path) -> None:
    add_long_recording(recordings)
    said: list[str] = []
    data = settings(recordings)
    (source,) = read_sources(data, said.append)
    dataset = data.prepared_folder(recordings)
    assert {each.audio_path.parent for each in source.recordings.utterances} == {dataset / "clips"}
    assert said[0].endswith("(data.prepare=never trains on the others alone)")
    assert f"are prepared in {dataset}" in said[0]
    assert str(dataset / "report.html") in said[-1]
    assert (dataset / "report.html").is_file()
    (again,) = read_sources(data)  # as another process of the run, or its evaluation, reads it
    assert again.recordings.utterances == source.recordings.utterances
    (recordings / "interview.wav").unlink()
    (tidied,) = read_sources(data)
    assert {each.audio_path.parent for each in tidied.recordings.utterances} == {recordings}


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["nano", "chatterbox_tiny"])
def test_recordings_of_which_none_has_a_text_are_heard_in_the_models_language(recordings: Path, adapter: str) -> None:
    """The embedded model's card says which that is, Chatterbox's settings do."""
    pytest.importorskip("moonshine_voice")
    add_long_recording(recordings)
    for text in recordings.glob("*.txt"):
        text.unlink()
    experiment = experiment_from(compose_config([f"adapter={adapter}", "logger=csv"]))
    said: list[str] = []
    (source,) = read_sources(settings(recordings), said.append, experiment.model_language)
    assert any("language en" in line for line in said)
    assert {each.language for each in source.recordings.utterances} == {"en"}
    assert len(source.recordings.utterances) > 2


def test_tidy_recordings_are_read_as_they_are(recordings: Path) -> None:
    said: list[str] = []
    (source,) = read_sources(settings(recordings), said.append)
    assert said == []
    assert len(source.recordings.utterances) == NUM_CLIPS
    assert {each.audio_path.parent for each in source.recordings.utterances} == {recordings}
    assert not (recordings.parent / "cache").exists()


def test_who_wants_no_preparation_trains_on_what_has_a_text(recordings: Path) -> None:
    add_long_recording(recordings)
    (source,) = read_sources(settings(recordings, prepare="never"), lambda line: pytest.fail(line))
    assert len(source.recordings.utterances) == NUM_CLIPS
    assert [Path(each.path).name for each in source.recordings.exclusions] == ["interview.wav"]


def test_where_nothing_can_be_prepared_the_reason_is_said_and_the_rest_trains(recordings: Path, tmp_path: Path) -> None:
    add_long_recording(recordings)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    (tmp_path / "cache").write_text("a file where a folder should be")
    said: list[str] = []
    (source,) = read_sources(settings(recordings), said.append)
    assert "could not be prepared" in said[-1]
    assert len(source.recordings.utterances) == NUM_CLIPS


def test_the_silence_that_was_put_around_clips_is_not_counted_as_lost(recordings: Path) -> None:
    """A dataset that was made before, as another process of a run finds it."""
    add_long_recording(recordings)
    data = settings(recordings)
    dataset = data.prepared_folder(recordings)
    dataset.mkdir(parents=True)
    shutil.copy(min(recordings.glob("*.ogg")), dataset / "000.ogg")
    (dataset / "manifest.jsonl").write_text(json.dumps({"path": "000.ogg", "text": "Hello."}) + "\n")
    row = {"path": "1.flac", "reason": "a copy", "duration_sec": 2.4, "use": False}
    clip = row | {"source_start_sec": 1.0, "source_end_sec": 3.0}
    (dataset / "excluded.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (clip, row)))
    (source,) = read_sources(data)
    assert [each.duration_sec for each in source.recordings.exclusions] == [2.0, 2.4]
