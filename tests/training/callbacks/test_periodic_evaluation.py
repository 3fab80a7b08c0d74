"""Training is evaluated at its steps, and does not know of it."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.evaluation.settings import EvaluationSettings
from calm_ft.finetuning.strategy import HeadOnly
from calm_ft.training.callbacks.periodic_evaluation import PeriodicEvaluation, TimeBudget
from calm_ft.training.callbacks.throughput import Throughput
from calm_ft.training.evaluation import RunEvaluation
from calm_ft.training.loggers import MetricsCsv
from calm_ft.training.loggers.tracker import Tracker
from calm_ft.training.module import FineTuning
from tests.training.tiny_evaluation import evaluation_of, samples_of
from tests.training.tiny_run import adamw, assert_same, fit, trained_state

Clips = list[EncodedUtterance]
TWO_SENTENCES = EvaluationSettings(every_n_steps=1, num_scored_sentences=2, max_time_share=1.0)


class Shown(MetricsCsv):
    """A CSV file that also notes what media it was given."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.media: list[tuple[int, list[str]]] = []

    def log_media(self, step: int, audio: Any, pictures: Any) -> None:
        assert all(path.is_file() for path in (*audio.values(), *pictures.values()))
        self.media.append((step, [*audio, *pictures]))


class WithTracker(Callback):
    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.loggers = [self.tracker]


class FakeSpeech:
    """Stands in for the adapter's synthesis and uses up whatever random state there is."""

    def __init__(self, adapter: PocketTTSAdapter, audio: torch.Tensor, ended: bool = True) -> None:
        self.adapter, self.audio, self.ended = adapter, audio, ended
        adapter.synthesize = self.speak  # type: ignore[method-assign,assignment]

    def speak(self, texts: Sequence[str], voice: Any, seed: Any, **_: Any) -> list[Synthesis]:
        torch.rand(3), np.random.rand(3), random.random()
        assert not any(part.training for part in self.adapter.modules())
        return [Synthesis(self.audio, self.adapter.sample_rate_hz, self.ended) for _ in texts]


class Watch(Callback):
    """Notes random states, modes and the number of threads at each batch's end."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        modes = [part.training for part in pl_module.modules()]
        gradients = [None if p.grad is None else float(p.grad.norm()) for p in pl_module.parameters()]
        numpy_state = np.random.get_state()[1].tolist()  # type: ignore[index]
        states = torch.get_rng_state().tolist(), numpy_state, random.getstate(), torch.get_num_threads()
        self.seen.append((modes, *states, torch.is_grad_enabled(), gradients))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def every(evaluation: RunEvaluation, num_steps: int) -> PeriodicEvaluation:
    return PeriodicEvaluation(evaluation, num_steps, max_time_share=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_with_evaluations_gives_the_same_weights_bit_by_bit(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, accumulate: int
) -> None:
    start = {name: tensor.clone() for name, tensor in nano_adapter.state_dict().items()}
    settings: dict[str, Any] = {"max_steps": 4, "accumulate_grad_batches": accumulate}
    without, _ = fit(nano_adapter, clips, tmp_path, **settings)
    expected, expected_average = trained_state(without), without.ema.shadow
    nano_adapter.load_state_dict(start)
    evaluation = evaluation_of(clips, nano_adapter, tmp_path)
    module, _ = fit(nano_adapter, clips, tmp_path, callbacks=[every(evaluation, 3)], **settings)
    assert_same(trained_state(module), expected)
    assert_same(module.ema.shadow, expected_average)
    heard = [f"step-00000{step}{end}" for step in (3, 4) for end in (".png", "_00.wav", "_01.wav")]
    assert names(tmp_path / "samples") == sorted([*heard, "sentences.jsonl", "voice_prompt.wav"])


@pytest.mark.slow
def test_step_0_is_the_base_and_noise_is_the_same_at_every_step(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    still = adamw(lr=1e-12)
    HeadOnly().apply(nano_adapter, 1e-12)
    evaluation = evaluation_of(clips, nano_adapter, tmp_path)
    evaluation.begin(FineTuning(nano_adapter, HeadOnly(), still, 0.9, 0), [], None)
    fit(nano_adapter, clips, tmp_path, max_steps=1, optimizer=still, callbacks=[every(evaluation, 1)])
    evaluation.finish(nano_adapter.eval(), "run", 1, 1, [])
    base, step, tuned = (samples_of(tmp_path / "samples" / f"{n}_00.wav") for n in ("base", "step-000001", "tuned"))
    assert np.abs(base - step).max() < 1e-3  # the average's copies may lie otherwise in memory: other last bits
    assert np.abs(base - tuned).max() < 1e-3


@pytest.mark.slow
def test_random_states_modes_threads_and_gradients_are_left_alone(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    FakeSpeech(nano_adapter, torch.rand(24_000) - 0.5)
    before, after = Watch(), Watch()
    evaluation = evaluation_of(clips, nano_adapter, tmp_path)
    fit(nano_adapter, clips, tmp_path, max_steps=3, callbacks=[before, every(evaluation, 1), after])
    assert len(names(tmp_path / "samples")) == 11
    assert before.seen == after.seen
    assert any(before.seen[0][0])


@pytest.mark.slow
def test_media_have_one_name_for_all_steps_and_the_time_they_took_is_logged(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    FakeSpeech(nano_adapter, torch.rand(8000) - 0.5)
    tracker = Shown(tmp_path / "metrics.csv")
    evaluation = evaluation_of(clips, nano_adapter, tmp_path, TWO_SENTENCES)
    callbacks = [WithTracker(tracker), Throughput(), every(evaluation, 1)]
    fit(nano_adapter, clips, tmp_path, max_steps=2, accumulate_grad_batches=2, callbacks=callbacks)
    shown = ["samples/sentence_00", "samples/sentence_01", "samples/spectrograms"]
    assert tracker.media == [(1, shown), (2, shown)]
    samples = soundfile.SoundFile(tmp_path / "samples" / "step-000002_01.wav")
    assert (samples.samplerate, samples.frames) == (nano_adapter.sample_rate_hz, 8000)
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    place = header.split(",").index("eval/time_share")
    shares = [float(row.split(",")[place]) for row in rows if row.split(",")[place]]
    assert len(shares) == 2
    assert all(0 < share < 1 for share in shares)


@pytest.mark.parametrize(
    ("audio", "ended", "said"),
    [
        (torch.rand(8000) - 0.5, False, "did not end by itself"),
        (torch.zeros(8000), True, "is silent"),
        (torch.full((8000,), float("nan")), True, "is silent"),
        (torch.zeros(0), True, "is silent"),
    ],
)
def test_a_sentence_that_fails_is_named_and_training_goes_on(
    nano_adapter: PocketTTSAdapter,
    clips: Clips,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    audio: torch.Tensor,
    ended: bool,
    said: str,
) -> None:
    FakeSpeech(nano_adapter, audio, ended)
    evaluation = evaluation_of(clips, nano_adapter, tmp_path)
    _, trainer = fit(nano_adapter, clips, tmp_path, max_steps=2, callbacks=[every(evaluation, 2)])
    assert trainer.global_step == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sentence ")]
    assert [line.partition(":")[0] for line in lines] == [f"sentence {index} at step 2 {said}" for index in (0, 1)]


def test_a_full_device_costs_the_evaluation_and_not_the_training(
    nano_adapter: PocketTTSAdapter,
    clips: Clips,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(nano_adapter, "synthesize", fail)
    evaluation = evaluation_of(clips, nano_adapter, tmp_path)
    module, trainer = fit(nano_adapter, clips, tmp_path, max_steps=2, callbacks=[every(evaluation, 2)])
    assert trainer.global_step == 2
    assert "no evaluation at step 2: out of memory" in capsys.readouterr().err
    assert any(part.training for part in module.modules())


def test_over_its_share_of_time_an_evaluation_is_skipped_and_said(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = evaluation_of(clips, nano_adapter, tmp_path)
    callback = PeriodicEvaluation(evaluation, 2, max_time_share=0.2, expected_sec=3600)
    fit(nano_adapter, clips, tmp_path, max_steps=4, callbacks=[callback])
    said = capsys.readouterr().err
    assert said.count("no evaluation at step 2: it would bring its share to 100 %") == 1
    assert names(tmp_path / "samples") == ["voice_prompt.wav"]


def test_a_budget_lets_an_evaluation_through_when_enough_time_has_been_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"sec": 0.0}
    place = "calm_ft.training.callbacks.periodic_evaluation.time.perf_counter"
    monkeypatch.setattr(place, lambda: clock["sec"])
    budget = TimeBudget(0.2, expected_sec=10.0)
    clock["sec"] = 39.0
    assert not budget.allows_another
    clock["sec"] = 40.0
    assert budget.allows_another
    clock["sec"] = 60.0  # 40 s of training and an evaluation of 20 s
    budget.spend(20.0)
    assert budget.share == pytest.approx(1 / 3)
    clock["sec"] = 179.0
    assert not budget.allows_another  # (20 + 20) / (179 + 20) is still over a fifth
    clock["sec"] = 180.0
    assert budget.allows_another
    budget.start()
    assert budget.share == 0
