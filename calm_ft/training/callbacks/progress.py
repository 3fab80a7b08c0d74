"""Progress of training with time left, loss and speed: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from calm_ft.progress import LINE_INTERVAL_SEC, format_duration

FORMAT = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def progress_for_stderr() -> ProgressBar:
    """A bar where stderr is a terminal, lines where it is a file or a pipe."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()


def metrics_text(metrics: dict[str, Any]) -> str:
    """`loss 0.98, val/residual 0.66, 74 x real time` from the metrics that are logged for the bar."""
    parts = [
        f"{name.removeprefix('train/')} {metrics[name]:.3f}"
        for name in ("train/loss", "val/residual")
        if name in metrics
    ]
    if "train/x_real_time" in metrics:
        parts.append(f"{metrics['train/x_real_time']:.0f} x real time")
    return ", ".join(parts)


class TerminalProgress(ProgressBar):
    """One tqdm bar over all optimizer steps."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm | None = None
        self._hidden = False

    def disable(self) -> None:
        """No bar from the next training on (other ranks than the first)."""
        self._hidden = True

    def enable(self) -> None:
        """A bar again."""
        self._hidden = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar = tqdm(
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc="training",
            bar_format=FORMAT,
            dynamic_ncols=True,
            disable=self._hidden,
        )

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        assert self._bar is not None
        self._bar.set_postfix_str(metrics_text(trainer.progress_bar_metrics), refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class LineProgress(ProgressBar):
    """The same figures as whole lines, at most one every few seconds, and one for the last step."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden = False
        self._started_sec = self._printed_sec = 0.0
        self._first_step = 0

    def disable(self) -> None:
        """No lines (other ranks than the first)."""
        self._hidden = True

    def enable(self) -> None:
        """Lines again."""
        self._hidden = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started_sec = self._printed_sec = time.perf_counter()
        self._first_step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if time.perf_counter() - self._printed_sec >= LINE_INTERVAL_SEC:
            self._print(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        if self._hidden:
            return
        self._printed_sec = time.perf_counter()
        elapsed_sec = self._printed_sec - self._started_sec  # of this stretch, as the rate is after a resume
        rate = (trainer.global_step - self._first_step) / elapsed_sec
        left = format_duration((trainer.max_steps - trainer.global_step) / rate) if rate else "?"
        print(
            f"training: {trainer.global_step}/{trainer.max_steps} [{format_duration(elapsed_sec)}<{left}, "
            f"{metrics_text(trainer.progress_bar_metrics)}]",
            file=sys.stderr,
            flush=True,
        )
