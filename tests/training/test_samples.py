"""Samples are spoken at their steps, and training does not know of them, nor of their scores."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from calm_ft.training.callbacks.time_budget import TimeBudget
from calm_ft.training.course import Course
from calm_ft.training.scoring import Scoring
from calm_ft.training.speaking import Speaking
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.finetuning.strategy import HeadOnly
from calm_ft.metrics.audio_io import write_wav
from calm_ft.randomness import derive_seed
from calm_ft.training.callbacks.periodic_evaluation import Rhythm, SpeakWhileTraining
from calm_ft.training.callbacks.throughput import Throughput
from calm_ft.training.loggers import MetricsCsv
from calm_ft.training.loggers.tracker import Tracker
from calm_ft.training.module import FineTuning
from tests.training.tiny_run import adamw, assert_same, fit, trained_state
from tests.training.tiny_scoring import scoring_of

Clips = list[EncodedUtterance]
SENTENCES = ["Hello there.", "Good night."]


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


def course(directory: Path, voice_prompt: Path, scoring: Scoring | None = None) -> Course:
    sentences = SENTENCES if scoring is None else scoring.texts
    return Course(Speaking(sentences, voice_prompt, 0), directory, len(SENTENCES), scoring)


def sampling(directory: Path, voice_prompt: Path, every_n_steps: int = 2) -> SpeakWhileTraining:
    rhythm = Rhythm(every_n_steps, None)
    return SpeakWhileTraining(course(directory, voice_prompt), rhythm, TimeBudget(1.0))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


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


@pytest.mark.parametrize(("accumulate", "scored"), [(1, True), (2, False), (2, True)])
def test_training_with_samples_and_scores_gives_the_same_weights_bit_by_bit(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, speech_file: Path, accumulate: int, scored: bool
) -> None:
    start = {name: tensor.clone() for name, tensor in nano_adapter.state_dict().items()}
    settings: dict[str, Any] = {"max_steps": 4, "accumulate_grad_batches": accumulate}
    without, _ = fit(nano_adapter, clips, tmp_path, **settings)
    expected, expected_average = trained_state(without), without.ema.shadow
    nano_adapter.load_state_dict(start)
    heard = course(tmp_path / "samples", speech_file, scoring_of(clips) if scored else None)
    speaking = SpeakWhileTraining(heard, Rhythm(3, 2 if scored else None), TimeBudget(1.0))
    module, _ = fit(nano_adapter, clips, tmp_path, callbacks=[speaking], **settings)
    assert_same(trained_state(module), expected)
    assert_same(module.ema.shadow, expected_average)
    steps = (2, 3, 4) if scored else (3,)
    assert names(tmp_path / "samples") == sorted(
        [
            "step-000003.png",
            *(f"step-00000{step}_0{index}.wav" for step in steps for index in (0, 1)),
            *(["sentences.jsonl"] if scored else []),
        ]
    )


def test_step_0_is_the_base_and_noise_is_the_same_at_every_step(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, speech_file: Path
) -> None:
    voice = nano_adapter.load_voice(speech_file)
    seeds = [derive_seed(0, "samples", index) for index in range(len(SENTENCES))]
    base = nano_adapter.synthesize(SENTENCES, voice, seeds)[0]
    write_wav(tmp_path / "base.wav", base.audio, base.sample_rate_hz)
    heard = course(tmp_path / "samples", speech_file)
    still = adamw(lr=1e-12)
    HeadOnly().apply(nano_adapter, 1e-12)
    heard.begin(FineTuning(nano_adapter, HeadOnly(), still, 0.9, 0), [], None)
    speaking = SpeakWhileTraining(heard, Rhythm(1, None), TimeBudget(1.0))
    fit(nano_adapter, clips, tmp_path, max_steps=1, optimizer=still, callbacks=[speaking])
    first, second = (tmp_path / "samples" / f"step-00000{step}_00.wav" for step in (0, 1))
    base_alone, before, after = (soundfile.read(path)[0] for path in (tmp_path / "base.wav", first, second))
    assert np.abs(base_alone - before).max() < 1e-3  # the average's copies may lie otherwise in memory: other last bits
    assert np.abs(before - after).max() < 1e-3


def test_random_states_modes_threads_and_gradients_are_left_alone(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, speech_file: Path
) -> None:
    FakeSpeech(nano_adapter, torch.rand(24_000) - 0.5)
    before, after = Watch(), Watch()
    heard = course(tmp_path / "samples", speech_file, scoring_of(clips))
    speaking = SpeakWhileTraining(heard, Rhythm(1, 1), TimeBudget(1.0))
    fit(nano_adapter, clips, tmp_path, max_steps=3, callbacks=[before, speaking, after])
    assert len(names(tmp_path / "samples")) == 10
    assert before.seen == after.seen
    assert any(before.seen[0][0])


def test_media_have_one_name_for_all_steps_and_the_time_they_took_is_logged(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, speech_file: Path
) -> None:
    FakeSpeech(nano_adapter, torch.rand(800) - 0.5)
    tracker = Shown(tmp_path / "metrics.csv")
    callbacks = [WithTracker(tracker), Throughput(), sampling(tmp_path / "samples", speech_file, 1)]
    fit(nano_adapter, clips, tmp_path, max_steps=2, accumulate_grad_batches=2, callbacks=callbacks)
    shown = ["samples/sentence_00", "samples/sentence_01", "samples/spectrograms"]
    assert tracker.media == [(1, shown), (2, shown)]
    samples = soundfile.SoundFile(tmp_path / "samples" / "step-000002_01.wav")
    assert (samples.samplerate, samples.frames) == (nano_adapter.sample_rate_hz, 800)
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    place = header.split(",").index("eval/time_share")
    shares = [float(row.split(",")[place]) for row in rows if row.split(",")[place]]
    assert len(shares) == 2
    assert all(0 < share < 1 for share in shares)


@pytest.mark.parametrize(
    ("audio", "ended", "said"),
    [
        (torch.rand(800) - 0.5, False, "did not end"),
        (torch.zeros(800), True, "is silent"),
        (torch.full((800,), float("nan")), True, "is silent"),
        (torch.zeros(0), True, "is silent"),
    ],
)
def test_a_sample_that_fails_is_named_and_training_goes_on(
    nano_adapter: PocketTTSAdapter,
    clips: Clips,
    tmp_path: Path,
    speech_file: Path,
    capsys: pytest.CaptureFixture[str],
    audio: torch.Tensor,
    ended: bool,
    said: str,
) -> None:
    FakeSpeech(nano_adapter, audio, ended)
    _, trainer = fit(nano_adapter, clips, tmp_path, max_steps=2, callbacks=[sampling(tmp_path / "s", speech_file)])
    assert trainer.global_step == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if said in line]
    assert [line.partition(":")[0] for line in lines] == [
        f"sample {index} at step 2 {said}" + (" by itself" if not ended else "") for index in (0, 1)
    ]


def test_a_full_device_costs_the_samples_and_not_the_training(
    nano_adapter: PocketTTSAdapter,
    clips: Clips,
    tmp_path: Path,
    speech_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(nano_adapter, "synthesize", fail)
    module, trainer = fit(nano_adapter, clips, tmp_path, max_steps=2, callbacks=[sampling(tmp_path / "s", speech_file)])
    assert trainer.global_step == 2
    assert "no samples at step 2: out of memory" in capsys.readouterr().err
    assert any(part.training for part in module.modules())
