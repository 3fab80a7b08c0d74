"""Speed, waiting and padding are those of training: whatever lies between the steps does not count."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from calm_ft.adapters.pocket_tts.rows import Row, collate_rows
from calm_ft.training.callbacks.throughput import Throughput, TimedDataLoader, pause_throughput

STEP_SEC, WAIT_SEC, PAUSE_SEC = 0.02, 0.02, 0.3
NUM_FRAMES, FRAME_RATE_HZ = 50, 12.5


class SlowBatches(Dataset[Any]):
    """Each takes WAIT_SEC to make and holds NUM_FRAMES frames, a quarter of its rows being padding."""

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Any:
        time.sleep(WAIT_SEC)
        frames = torch.tensor([NUM_FRAMES - 20, 20])
        return SimpleNamespace(num_frames=frames, padding_share=torch.tensor(0.25))


class SlowModule(LightningModule):
    """Each batch takes STEP_SEC, a validation PAUSE_SEC."""

    def __init__(self) -> None:
        super().__init__()
        self.adapter = SimpleNamespace(frame_rate_hz=FRAME_RATE_HZ)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        time.sleep(STEP_SEC)
        return self.weight**2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        time.sleep(PAUSE_SEC)


class SlowSaving(Callback):
    """Saves at the end of a step and again as the next one begins, slowly both times."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 3:
            trainer.save_checkpoint(self.path)
            time.sleep(PAUSE_SEC)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.on_train_batch_end(trainer)


class SlowSampling(Callback):
    """Samples after the second step, and before the first one."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pause_throughput(trainer)
        time.sleep(PAUSE_SEC)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            pause_throughput(trainer)
            time.sleep(PAUSE_SEC)


def train(
    folder: Path,
    max_steps: int,
    *,
    callbacks: tuple[Callback, ...] = (),
    loader: type[DataLoader[Any]] = TimedDataLoader,
    ckpt_path: Path | None = None,
    **settings: Any,
) -> dict[str, float]:
    """The figures after the last step."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(
        default_root_dir=folder,
        max_steps=max_steps,
        num_sanity_val_steps=0,
        callbacks=[Throughput(), *callbacks],
        enable_checkpointing=False,
        **{**quiet, **settings},
    )
    num_batches = max_steps * trainer.accumulate_grad_batches
    validation = DataLoader(SlowBatches(1), batch_size=None)
    trainer.fit(SlowModule(), loader(SlowBatches(num_batches), batch_size=None), validation, ckpt_path=ckpt_path)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.slow
def test_validation_sampling_and_saving_are_no_training(tmp_path: Path) -> None:
    slow = (SlowSaving(tmp_path / "a.ckpt"), SlowSampling())
    started = time.perf_counter()
    figures = train(tmp_path, 6, callbacks=slow, val_check_interval=2)
    pauses_sec = 7 * PAUSE_SEC
    assert time.perf_counter() - started > pauses_sec + 6 * (STEP_SEC + WAIT_SEC)
    assert STEP_SEC + WAIT_SEC <= figures["train/step_sec"] < STEP_SEC + WAIT_SEC + PAUSE_SEC / 6
    assert figures["train/frames_per_sec"] == pytest.approx(NUM_FRAMES / figures["train/step_sec"])
    assert figures["train/x_real_time"] == pytest.approx(figures["train/frames_per_sec"] / FRAME_RATE_HZ)
    assert 0.3 < figures["train/data_wait_share"] < 0.7
    assert figures["train/padding_share"] == pytest.approx(0.25)


def test_with_accumulation_a_step_is_all_its_batches(tmp_path: Path) -> None:
    figures = train(tmp_path, 2, accumulate_grad_batches=3, limit_val_batches=0)
    assert 3 * (STEP_SEC + WAIT_SEC) <= figures["train/step_sec"] < 5 * (STEP_SEC + WAIT_SEC)
    assert figures["train/frames_per_sec"] == pytest.approx(3 * NUM_FRAMES / figures["train/step_sec"])


def test_a_resumed_training_counts_from_its_own_first_step(tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    train(tmp_path, 3, callbacks=(SlowSaving(path),), limit_val_batches=0)
    figures = train(tmp_path, 5, ckpt_path=path, limit_val_batches=0)
    assert STEP_SEC + WAIT_SEC <= figures["train/step_sec"] < 2 * (STEP_SEC + WAIT_SEC)
    assert figures["train/frames_per_sec"] == pytest.approx(NUM_FRAMES / figures["train/step_sec"])


def test_peak_memory_is_the_processs_own(tmp_path: Path) -> None:
    large = torch.ones(2**26)  # 256 MiB
    figures = train(tmp_path, 1, limit_val_batches=0)
    assert large.nbytes / 2**20 < figures["memory/peak_rss_mb"] < 64 * 1024
    assert "memory/peak_gpu_mb" not in figures


def test_another_loader_leaves_waiting_unsaid(tmp_path: Path) -> None:
    figures = train(tmp_path, 2, loader=DataLoader, limit_val_batches=0)
    assert "train/data_wait_share" not in figures
    assert figures["train/step_sec"] >= STEP_SEC


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_timed_loader_gives_the_same_batches_each_time(num_workers: int) -> None:
    numbers: Any = range(7)
    plain: DataLoader[Any] = DataLoader(numbers, batch_size=3, num_workers=num_workers)
    timed = TimedDataLoader(numbers, batch_size=3, num_workers=num_workers)
    for _ in range(2):
        assert [batch.tolist() for batch in timed] == [batch.tolist() for batch in plain]
    assert timed.wait_sec > 0


def test_padding_share_counts_frames_of_the_targets_alone() -> None:
    prompt = torch.zeros(7, 2)
    rows = [Row(str(n), torch.zeros(n, 2), [1], prompt, place) for place, n in enumerate((5, 3, 1))]
    assert float(collate_rows(rows, padding_token=0).padding_share) == pytest.approx(1 - 9 / 15)
    assert float(collate_rows(rows[:1], padding_token=0).padding_share) == 0
