"""The best checkpoint and the end of training by figures of the evaluation, each value judged once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from calm_ft.training.callbacks.by_evaluation import BestByEvaluation, StopByEvaluation
from calm_ft.training.callbacks.time_budget import TimeBudget
from calm_ft.training.course import Course
from calm_ft.training.scoring import Evaluated
from calm_ft.training.speaking import Speaking
from lightning.pytorch import Callback

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.callbacks.periodic_evaluation import Rhythm, SpeakWhileTraining, Verdicts
from calm_ft.training.checkpoints import read_checkpoint
from calm_ft.training.resume import ResumePoint
from calm_ft.training.settings import CheckpointSettings
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import assert_same, fit
from tests.training.tiny_scoring import scoring_of

Clips = list[EncodedUtterance]
BY_CER = CheckpointSettings(every_n_steps=2, keep=9, monitor="eval/cer", mode="min")


class Foretold(Course):
    """A course whose evaluations have given figures by step, in the place of a voice."""

    def __init__(self, values: dict[int, float | str | None], figure: str = "cer") -> None:
        self.values = values
        self.figure = figure
        self.base_counts = {figure: 2}
        self.asked: list[int] = []

    def at_step(self, module: Any, step: int, trackers: Any, sampled: bool, scored: bool) -> Evaluated | None:
        assert scored
        self.asked.append(step)
        value = self.values[step]
        if isinstance(value, str):
            raise RuntimeError(value)
        if value is None:
            return Evaluated([], {self.figure: 0.0}, {self.figure: 1}, {})  # one sentence lacks it: that is no merit
        return Evaluated([], {self.figure: value}, {self.figure: 2}, {})


def evaluating(
    directory: Path, course: Course, every: int = 2, patience: int | None = None, budget: TimeBudget | None = None
) -> list[Callback]:
    saving = checkpoint_callbacks(directory, BY_CER)
    judges: list[Any] = [each for each in saving if isinstance(each, BestByEvaluation)]
    assert len(judges) == 1
    if patience is not None:
        judges.append(StopByEvaluation("eval/cer", 0.0, patience, mode="min", check_finite=False))
    verdicts = Verdicts("cer", judges)
    speaking = SpeakWhileTraining(course, Rhythm(None, every), budget or TimeBudget(1.0), verdicts)
    return [*saving, *judges[1:], speaking]


def best_step(directory: Path) -> int:
    return int(read_checkpoint(directory / "best.ckpt")["global_step"])


@pytest.mark.parametrize(
    ("values", "best", "every_validation"),
    [
        ({2: 0.5, 4: 0.3, 6: 0.4, 7: 0.4}, 4, 1),
        ({2: 0.5, 4: 0.5, 6: 0.6, 7: 0.1}, 7, 3),  # the last step is evaluated though the interval does not divide it
        ({2: None, 4: 0.9, 6: "out of memory", 7: None}, 4, 2),  # neither a failure nor a silent sentence is better
    ],
)
def test_the_best_checkpoint_is_that_of_the_best_evaluation_wherever_validations_fall(
    nano_adapter: PocketTTSAdapter,
    clips: Clips,
    tmp_path: Path,
    values: dict[int, float | str | None],
    best: int,
    every_validation: int,
) -> None:
    course = Foretold(values)
    callbacks = evaluating(tmp_path, course)
    fit(nano_adapter, clips, tmp_path, max_steps=7, val_check_interval=every_validation, callbacks=callbacks)
    assert course.asked == [2, 4, 6, 7]
    assert best_step(tmp_path) == best


def test_patience_counts_evaluations_and_no_validation_in_between(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    course = Foretold({2: 0.5, 4: 0.6, 6: None, 8: 0.1})
    callbacks = evaluating(tmp_path, course, patience=2)
    _, trainer = fit(nano_adapter, clips, tmp_path, max_steps=20, val_check_interval=1, callbacks=callbacks)
    assert trainer.global_step == 6
    assert best_step(tmp_path) == 2


def test_a_failed_evaluation_is_not_counted_against_patience(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    course = Foretold({2: 0.5, 4: "out of memory", 6: 0.4, 8: 0.6})
    callbacks = evaluating(tmp_path, course, patience=1)
    _, trainer = fit(nano_adapter, clips, tmp_path, max_steps=20, callbacks=callbacks)
    assert trainer.global_step == 8


@pytest.mark.parametrize("stopped_at", [2, 4])
def test_a_resumed_run_goes_on_with_the_same_best_value_and_the_same_patience(
    clips: Clips, tmp_path: Path, stopped_at: int
) -> None:
    def nano() -> PocketTTSAdapter:
        return PocketTTSAdapter(str(NANO), default_objective())

    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    values: dict[int, float | str | None] = {2: 0.4, 4: 0.6, 6: 0.5, 8: 0.7, 10: 0.1}
    common: dict[str, Any] = {"max_steps": 20, "val_check_interval": 3}
    _, first = fit(nano(), clips, whole, callbacks=evaluating(whole, Foretold(values), patience=3), **common)
    path = whole / f"step-{stopped_at:08d}.ckpt"
    point = ResumePoint(path, stopped_at, read_checkpoint(path))
    course = Foretold(values)
    callbacks = evaluating(resumed, course, patience=3)
    _, second = fit(nano(), clips, resumed, callbacks=callbacks, point=point, **common)
    assert course.asked == [step for step in (2, 4, 6, 8) if step > stopped_at]
    assert first.global_step == second.global_step == 8
    assert best_step(whole) == 2
    assert not (resumed / "best.ckpt").exists()  # nothing after the stop beat what the checkpoint remembers
    last = [read_checkpoint(each / "last.ckpt") for each in (whole, resumed)]
    assert_same(last[0]["state_dict"], last[1]["state_dict"])
    states = [{name: s for name, s in each["callbacks"].items() if "ByEvaluation" in name} for each in last]
    waits = [[s["wait_count"] for s in each.values() if "wait_count" in s] for each in states]
    assert waits == [[3], [3]]


def test_over_its_share_of_time_an_evaluation_is_skipped_and_said_unless_it_decides(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hour = TimeBudget(0.2, expected_sec=3600)
    free, bound = Foretold({2: 0.5, 4: 0.5}), Foretold({2: 0.5, 4: 0.5})
    fit(nano_adapter, clips, tmp_path, max_steps=4, callbacks=[SpeakWhileTraining(free, Rhythm(None, 2), hour)])
    said = capsys.readouterr().err
    assert free.asked == []
    assert said.count("no evaluation at step 2: it would bring its share to 100 %") == 1
    callbacks = evaluating(tmp_path, bound, budget=TimeBudget(0.2, expected_sec=3600))
    fit(nano_adapter, clips, tmp_path, max_steps=4, callbacks=callbacks)
    assert bound.asked == [2, 4]
    assert capsys.readouterr().err.count("none is skipped, for cer is monitored") == 1


def test_a_budget_lets_an_evaluation_through_when_enough_time_has_been_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"sec": 0.0}
    monkeypatch.setattr("calm_ft.training.callbacks.time_budget.time.perf_counter", lambda: clock["sec"])
    budget = TimeBudget(0.2, expected_sec=10.0)
    clock["sec"] = 39.0
    assert not budget.allows_another
    clock["sec"] = 40.0
    assert budget.allows_another
    clock["sec"] = 60.0  # 40 s of training and an evaluation of 20 s
    budget.spend(20.0, evaluated=True)
    assert budget.share == pytest.approx(1 / 3)
    clock["sec"] = 179.0
    assert not budget.allows_another  # (20 + 20) / (179 + 20) is still over a fifth
    clock["sec"] = 180.0
    assert budget.allows_another
    budget.start()
    assert budget.share == 0


def test_the_figures_are_those_of_the_metrics_and_a_silent_clip_leaves_no_zero(
    nano_adapter: PocketTTSAdapter, clips: Clips, speech_file: Path
) -> None:
    scoring = scoring_of(clips)
    assert scoring.references().means["mcd_db"] == pytest.approx(0, abs=1e-9)
    assert scoring.references().means["sentence_identified"] == 1.0
    spoken = Speaking(scoring.texts, speech_file, 0).speak(nano_adapter, "base", 0, 2)
    evaluated = scoring.score(spoken)
    both = [clip.metrics["mcd_db"] for clip in evaluated.clips]
    assert evaluated.means["mcd_db"] == pytest.approx(sum(both) / 2)  # type: ignore[arg-type]
    assert {"wer", "cer", "speaker_similarity_resemblyzer", "duration_ratio"} <= evaluated.means.keys()
    assert not any(name.startswith(("dnsmos", "utmos")) or name == "rtf" for name in evaluated.means)
    silence = Synthesis(torch.zeros(24_000), 24_000, ended=True)
    nano_adapter.synthesize = lambda texts, *_, **__: [silence for _ in texts]  # type: ignore[method-assign]
    silent = scoring.score(Speaking(scoring.texts, speech_file, 0).speak(nano_adapter, "base", 0, 2))
    assert "mcd_db" not in silent.means
    assert silent.missing["mcd_db"] == "the clip is silent"
    assert (silent.means["silent"], silent.means["cer"]) == (1.0, 1.0)
