"""TensorBoard's event files hold figures, audio and pictures, and no step twice after a resume."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from calm_ft.errors import UserError
from calm_ft.training.loggers import ResumedLogs, TensorBoardSettings, finish, log_media, log_summary, tracker_ids
from tests.training.loggers.media import write_media


def events(output_dir: Path) -> EventAccumulator:
    return EventAccumulator(str(output_dir / "tensorboard")).Reload()


def test_figures_media_and_texts_are_in_the_runs_folder(tmp_path: Path) -> None:
    output_dir = tmp_path / "run"
    audio, pictures = write_media(tmp_path)
    trackers = TensorBoardSettings().build(output_dir, {"seed": 3}, {"code": "abc"}, None)
    for step in (0, 20):
        for tracker in trackers:
            tracker.log_metrics({"val/residual": 1 / (1 + step)}, step)
        log_media(trackers, step, audio, pictures)
    log_summary(trackers, {"mcd_db": 7.5})
    finish(trackers)
    written = events(output_dir)
    assert [event.step for event in written.Scalars("val/residual")] == [0, 20]
    assert [event.step for event in written.Audio("samples/sentence_00")] == [0, 20]
    assert written.Audio("samples/sentence_00")[0].sample_rate == 8000
    assert [event.width for event in written.Images("samples/spectrograms")] == [200, 200]
    (config,) = written.Tensors("config/text_summary")
    assert b'"code": "abc"' in config.tensor_proto.string_val[0]
    assert b"7.5" in written.Tensors("summary/text_summary")[0].tensor_proto.string_val[0]
    assert {path.name.partition(".")[0] for path in (output_dir / "tensorboard").iterdir()} == {"events"}


def test_after_a_resume_each_step_is_shown_once(tmp_path: Path) -> None:
    for steps, resumed in ((range(1, 7), None), (range(5, 9), ResumedLogs(4))):
        trackers = TensorBoardSettings().build(tmp_path, {}, {}, resumed)
        assert tracker_ids(trackers) == {}
        for step in steps:
            trackers[1].log_metrics({"train/loss": 1 / step}, step)
        finish(trackers)
    shown = events(tmp_path).Scalars("train/loss")
    assert [event.step for event in shown] == list(range(1, 9))


def test_without_the_package_the_choice_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"calm_ft\[tensorboard\]"):
        TensorBoardSettings()
