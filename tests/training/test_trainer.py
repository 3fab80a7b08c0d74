"""`trainer.*` reaches Lightning's Trainer; what it cannot take is one sentence."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from calm_ft.errors import UserError
from calm_ft.training import trainer as trainer_module
from calm_ft.training.callbacks.progress import LineProgress
from calm_ft.training.trainer import build_trainer, precision_of, validation_interval

CPU = {"accelerator": "cpu", "max_steps": 5}


def build(tmp_path: Path, **settings: Any) -> Trainer:
    return build_trainer({**CPU, **settings}, tmp_path / "run", [LineProgress()])


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("max_steps", 7, "max_steps", 7),
        ("accumulate_grad_batches", 3, "accumulate_grad_batches", 3),
        ("log_every_n_steps", 2, "log_every_n_steps", 2),
        ("gradient_clip_val", 0.5, "gradient_clip_val", 0.5),
        ("limit_val_batches", 1, "limit_val_batches", 1),
        ("detect_anomaly", True, "_detect_anomaly", True),
        ("check_val_every_n_epoch", 2, "check_val_every_n_epoch", 2),
        ("num_sanity_val_steps", 1, "num_sanity_val_steps", 1),
        ("precision", "bf16-mixed", "precision", "bf16-mixed"),
    ],
)
def test_a_lightning_argument_reaches_the_trainer(
    tmp_path: Path, name: str, value: Any, attribute: str, expected: Any
) -> None:
    assert getattr(build(tmp_path, **{name: value}), attribute) == expected


@pytest.mark.parametrize(
    ("settings", "is_fast", "expected"),
    [
        ({"precision": "auto", "accelerator": "cpu"}, True, "bf16-mixed"),
        ({"precision": "auto", "accelerator": "cpu"}, False, "32-true"),
        ({"precision": "auto", "accelerator": "mps"}, True, "32-true"),
        ({"precision": "32-true"}, True, "32-true"),
        ({}, True, None),
    ],
)
def test_automatic_precision_is_what_the_device_multiplies_faster(settings, is_fast, expected, monkeypatch) -> None:
    monkeypatch.setattr(trainer_module, "has_fast_bfloat16", lambda device: is_fast)
    assert precision_of(settings) == expected


def test_callbacks_of_the_configuration_stand_beside_ours(tmp_path: Path) -> None:
    kinds = {type(each) for each in build(tmp_path, callbacks=[LearningRateMonitor()]).callbacks}  # type: ignore[attr-defined]
    assert {LearningRateMonitor, LineProgress} <= kinds


def test_the_bar_can_be_turned_off(tmp_path: Path) -> None:
    assert build(tmp_path, enable_progress_bar=False).progress_bar_callback is None
    assert isinstance(build(tmp_path).progress_bar_callback, LineProgress)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"no_such_argument": 1}, "no_such_argument"),
        ({"max_steps": None}, "trainer.max_steps=null"),
        ({"max_steps": 0}, "trainer.max_steps=0"),
        ({"max_steps": -1}, "trainer.max_steps=-1"),
        ({"max_steps": "many"}, "trainer.max_steps=many"),
        ({"max_epochs": 3}, "trainer.max_steps"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0"),
        ({"val_check_interval": 0}, "val_check_interval=0"),
        ({"val_check_interval": 1.5}, "val_check_interval=1.5"),
        ({"logger": True}, "logger=csv"),
        ({"default_root_dir": "elsewhere"}, "output_dir"),
        ({"enable_checkpointing": False}, "checkpoint.every_n_steps"),
        ({"precision": "bf16-true"}, "bf16-mixed"),
        ({"precision": "half"}, "half"),
        ({"accelerator": "abacus"}, "abacus"),
        ({"accelerator": "cpu", "devices": 0}, "devices"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        build(tmp_path, **settings)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("interval", "accumulate", "expected"),
    [(None, 1, 20), (100, 1, 20), (100, 3, 60), (7, 1, 7), (0.25, 2, 10), ("00:05:00", 1, "00:05:00")],
)
def test_validation_comes_at_the_latest_at_the_end(interval: Any, accumulate: int, expected: Any) -> None:
    settings = {"max_steps": 20, "val_check_interval": interval, "accumulate_grad_batches": accumulate}
    assert validation_interval(settings) == expected
