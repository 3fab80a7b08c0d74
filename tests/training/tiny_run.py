"""Real runs in seconds: a few demo clips, the embedded model, a handful of steps."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from lightning.pytorch import Callback, Trainer

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.sources import read_recordings
from calm_ft.data.split import Split
from calm_ft.errors import run_script
from calm_ft.finetuning.strategy import HeadOnly, Strategy
from calm_ft.training.callbacks.restore import Restore
from calm_ft.training.datamodule import BatchLimits, EncodedSource, RecordingsDataModule
from calm_ft.training.module import FineTuning
from calm_ft.training.optimizers import AdamWFactory, CosineSchedule, OptimizerFactory
from calm_ft.training.resume import ResumePoint
from calm_ft.training.settings import CheckpointSettings
from calm_ft.training.trainer import build_trainer
from scripts import train as train_script
from tests.conftest import DEMO_TRAIN

NUM_CLIPS = 6
TAIL_SEC, MAX_DURATION_SEC = 0.08, 30.0


def copy_short_clips(folder: Path, num_clips: int = NUM_CLIPS) -> Path:
    """The demo voice's shortest recordings with their texts, in a folder as a user has it."""
    folder.mkdir(parents=True, exist_ok=True)
    by_length = sorted(DEMO_TRAIN.glob("*.ogg"), key=lambda path: soundfile.info(path).frames)
    for path in by_length[:num_clips]:
        shutil.copy(path, folder)
        shutil.copy(path.with_suffix(".txt"), folder)
    return folder


def encode(adapter: TTSAdapter, folder: Path, cache_dir: Path) -> list[EncodedUtterance]:
    utterances = read_recordings(folder).utterances
    return encode_recordings(utterances, adapter, cache_dir, TAIL_SEC, MAX_DURATION_SEC, progress=False).encoded


SAVING = CheckpointSettings(every_n_steps=100, keep=2, monitor="val/residual", mode="min")


def adamw(lr: float = 1e-3) -> AdamWFactory:
    schedule = CosineSchedule(num_warmup_steps=2, final_lr_fraction=0.0)
    return AdamWFactory(lr=lr, weight_decay=0.01, beta1=0.9, beta2=0.99, schedule=schedule)


def fit(
    adapter: TTSAdapter,
    clips: Sequence[EncodedUtterance],
    output_dir: Path,
    *,
    seed: int = 0,
    strategy: Strategy | None = None,
    optimizer: OptimizerFactory | None = None,
    callbacks: Sequence[Callback] = (),
    point: ResumePoint | None = None,
    num_validation: int = 2,
    ema_decay: float = 0.9,
    **trainer_settings: Any,
) -> tuple[FineTuning, Trainer]:
    """Train on all clips but the first, which validate; no loggers, no judging. `point`: where to resume."""
    chosen, factory = strategy or HeadOnly(), optimizer or adamw()
    chosen.apply(adapter, factory.lr)
    module = FineTuning(adapter, chosen, factory, ema_decay=ema_decay, seed=seed)
    source = EncodedSource("voice", Split(list(clips[num_validation:]), list(clips[:num_validation])), 1.0)
    batches = RecordingsDataModule(adapter, [source], BatchLimits(200, 2), 0, seed)
    settings = {"accelerator": "cpu", "enable_progress_bar": False, **trainer_settings}
    restoring = [] if point is None else [Restore(point)]
    trainer = build_trainer(settings, output_dir, [*restoring, *callbacks])
    trainer.fit(module, datamodule=batches)
    return module, trainer


def run_train(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    """scripts/train.py in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
    try:
        run_script(train_script.main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def trained_state(module: FineTuning) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.adapter.named_parameters() if p.requires_grad}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
