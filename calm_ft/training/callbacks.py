"""What a run says while it goes: a component table, speed as multiples of real time, a progress bar with ETA."""

import time
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from rich.console import Console
from rich.table import Table

from calm_ft.finetuning.strategy import ComponentPlan

BEST, LAST = "best", "last"


def checkpoint_callbacks(directory: str, every_n_steps: int) -> list[Callback]:
    """`best.ckpt` by validation residual and `last.ckpt` every n steps and at the end, each written atomically."""
    common: dict[str, Any] = {"dirpath": directory, "save_top_k": 1, "enable_version_counter": False}
    best = ModelCheckpoint(filename=BEST, monitor="val/residual", mode="min", auto_insert_metric_name=False, **common)
    last = ModelCheckpoint(filename=LAST, every_n_train_steps=every_n_steps, **common)
    return [best, last]


class SaveAtEnd(Callback):
    """Makes `last.ckpt` the last step's, also where the interval does not divide the run's length."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)


class Throughput(Callback):
    """Logs frames per second of wall time and how many times faster than real time the data are consumed."""

    def __init__(self, frame_rate_hz: float) -> None:
        self.frame_rate_hz = frame_rate_hz
        self._start_sec = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._start_sec = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        frames_per_sec = int(batch.num_frames.sum()) / (time.perf_counter() - self._start_sec)
        pl_module.log("train/frames_per_sec", frames_per_sec)
        pl_module.log("train/x_real_time", frames_per_sec / self.frame_rate_hz, prog_bar=True)


class ProgressBar(TQDMProgressBar):
    """One bar over all steps with time left; metrics in short names, validation without a bar of its own."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.bar_format = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        bar.set_description("training")
        return bar

    def init_validation_tqdm(self) -> Tqdm:
        bar = super().init_validation_tqdm()
        bar.disable = True
        return bar

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        self.train_progress_bar.reset(self.total_train_batches)
        self.train_progress_bar.initial = 0

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {name.replace("train/", ""): value for name, value in metrics.items()}


def print_component_table(plans: Sequence[ComponentPlan], console: Console) -> None:
    """Component, parameters, trained or frozen, rate."""
    table = Table(title="components")
    for heading in ("component", "parameters", "trains", "learning rate"):
        table.add_column(heading, justify="left" if heading == "component" else "right")
    for plan in plans:
        trains = plan.lr is not None
        style = "bold" if trains else "dim"
        table.add_row(
            plan.name, f"{plan.num_parameters:,}", "yes" if trains else "no", f"{plan.lr:g}" if trains else "-", style=style
        )
    total = sum(plan.num_parameters for plan in plans)
    trained = sum(plan.num_parameters for plan in plans if plan.lr is not None)
    table.add_section()
    table.add_row("all", f"{total:,}", f"{trained:,}", f"{100 * trained / total:.1f} %")
    console.print(table)
