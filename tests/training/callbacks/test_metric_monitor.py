"""The best checkpoint and the end of training by figures of the evaluation, each value judged once."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.evaluation.evaluator import StepScores
from calm_ft.evaluation.settings import EvaluationSettings
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.callbacks.metric_monitor import (
    BestByEvaluation,
    MetricMonitor,
    Monitor,
    StopByEvaluation,
    monitor_of,
)
from calm_ft.training.callbacks.periodic_evaluation import PeriodicEvaluation
from calm_ft.training.evaluation import RunEvaluation
from calm_ft.training.resume import ResumePoint, read_checkpoint
from calm_ft.training.settings import CheckpointSettings
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import assert_same, fit

Clips = list[EncodedUtterance]
EVALUATED = EvaluationSettings(every_n_steps=200)


def by(name: str, mode: Any = None) -> CheckpointSettings:
    return CheckpointSettings(every_n_steps=2, keep=9, monitor=name, mode=mode)


class Foretold(RunEvaluation):
    """An evaluation whose figures are given by step, in the place of a voice."""

    def __init__(self, values: dict[int, float | str | None], figure: str = "cer") -> None:
        self.values = values
        self.figure = figure
        self.base_counts = {figure: 2}
        self.asked: list[int] = []

    def at_step(self, module: Any, step: int, trackers: Any) -> StepScores:
        self.asked.append(step)
        value = self.values[step]
        if isinstance(value, str):
            raise RuntimeError(value)
        if value is None:
            return StepScores([], {self.figure: 0.0}, {self.figure: 1}, {})  # one sentence lacks it: that is no merit
        return StepScores([], {self.figure: value}, {self.figure: 2}, {})


def evaluating(
    directory: Path,
    evaluation: RunEvaluation,
    patience: int | None = None,
    max_time_share: float = 1.0,
    expected_sec: float = 0.0,
) -> list[Callback]:
    saving = checkpoint_callbacks(directory, by("eval/cer", "min"))
    judges: list[Any] = [each for each in saving if isinstance(each, BestByEvaluation)]
    assert len(judges) == 1
    if patience is not None:
        judges.append(StopByEvaluation("eval/cer", 0.0, patience, mode="min", check_finite=False))
    monitor = MetricMonitor("cer", judges)
    return [*saving, *judges[1:], PeriodicEvaluation(evaluation, 2, max_time_share, monitor, expected_sec)]


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
    evaluation = Foretold(values)
    callbacks = evaluating(tmp_path, evaluation)
    fit(nano_adapter, clips, tmp_path, max_steps=7, val_check_interval=every_validation, callbacks=callbacks)
    assert evaluation.asked == [2, 4, 6, 7]
    assert best_step(tmp_path) == best


def test_patience_counts_evaluations_and_no_validation_in_between(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    callbacks = evaluating(tmp_path, Foretold({2: 0.5, 4: 0.6, 6: None, 8: 0.1}), patience=2)
    _, trainer = fit(nano_adapter, clips, tmp_path, max_steps=20, val_check_interval=1, callbacks=callbacks)
    assert trainer.global_step == 6
    assert best_step(tmp_path) == 2


def test_a_failed_evaluation_is_not_counted_against_patience(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    callbacks = evaluating(tmp_path, Foretold({2: 0.5, 4: "out of memory", 6: 0.4, 8: 0.6}), patience=1)
    _, trainer = fit(nano_adapter, clips, tmp_path, max_steps=20, callbacks=callbacks)
    assert trainer.global_step == 8


@pytest.mark.slow
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
    evaluation = Foretold(values)
    callbacks = evaluating(resumed, evaluation, patience=3)
    _, second = fit(nano(), clips, resumed, callbacks=callbacks, point=point, **common)
    assert evaluation.asked == [step for step in (2, 4, 6, 8) if step > stopped_at]
    assert first.global_step == second.global_step == 8
    assert best_step(whole) == 2
    assert not (resumed / "best.ckpt").exists()  # nothing after the stop beat what the checkpoint remembers
    last = [read_checkpoint(each / "last.ckpt") for each in (whole, resumed)]
    assert_same(last[0]["state_dict"], last[1]["state_dict"])
    states = [{name: s for name, s in each["callbacks"].items() if "ByEvaluation" in name} for each in last]
    waits = [[s["wait_count"] for s in each.values() if "wait_count" in s] for each in states]
    assert waits == [[3], [3]]


def test_an_evaluation_over_its_share_of_time_is_not_skipped_where_it_decides(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = Foretold({2: 0.5, 4: 0.5})
    callbacks = evaluating(tmp_path, evaluation, max_time_share=0.2, expected_sec=3600)
    fit(nano_adapter, clips, tmp_path, max_steps=4, callbacks=callbacks)
    assert evaluation.asked == [2, 4]
    assert capsys.readouterr().err.count("none is skipped, for cer is monitored") == 1


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("eval/cer", None, "min"),
        ("eval/cer", "min", "min"),
        ("eval/sentence_identified", None, "max"),
        ("eval/voice_identified", None, "max"),
        ("eval/runaway", None, "min"),
        ("eval/duration_ratio", "max", "max"),
        ("val/residual", None, "min"),
        ("val/residual", "max", "max"),
    ],
)
def test_the_mode_is_that_of_the_figure_or_the_one_given(name: str, mode: str | None, expected: str) -> None:
    assert monitor_of(by(name, mode), EVALUATED) == Monitor(name, expected)


@pytest.mark.parametrize(
    ("name", "mode", "settings", "said"),
    [
        ("eval/mos", None, EVALUATED, "eval/wer, eval/cer"),
        ("eval/rtf", None, EVALUATED, "no figure of the evaluation"),  # it hangs on what else the machine does
        ("eval/base_voices_residual", None, EVALUATED, "no figure of the evaluation"),
        ("eval/cer", "max", EVALUATED, "checkpoint.mode=min"),
        ("eval/duration_ratio", None, EVALUATED, "checkpoint.mode=min or max"),
        ("eval/dnsmos_overall", None, EVALUATED, "evaluation.opinion_scores=true"),
        ("eval/cer", None, EvaluationSettings(), "evaluation.every_n_steps=200"),
        ("eval/cer", None, EvaluationSettings(every_n_steps=0), "evaluation.every_n_steps=200"),
        ("eval/cer", None, EvaluationSettings(num_sentences=0, every_n_steps=200), "evaluation.num_sentences=0"),
    ],
)
def test_what_cannot_be_monitored_is_one_sentence(
    name: str, mode: str | None, settings: EvaluationSettings, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        monitor_of(by(name, mode), settings)


def test_a_monitored_figure_that_cannot_be_had_is_refused_with_its_reason() -> None:
    with pytest.raises(UserError, match=r"eval/cer cannot be measured here: no recogniser; choose another"):
        Monitor("eval/cer", "min").check_measured({"cer": "no recogniser."})
    Monitor("eval/cer", "min").check_measured({"wer": "no recogniser."})
    Monitor("val/flow", "min").check_logged({"residual": 1.0, "flow": 1.0})
    with pytest.raises(UserError, match="val/flow is not logged: choose one of val/residual"):
        Monitor("val/flow", "min").check_logged({"residual": 1.0})
    with pytest.raises(UserError, match="no number"):
        Monitor("val/flow", "min").check_logged({"residual": float("nan")})
