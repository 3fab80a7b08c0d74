"""The LightningModule: passes batches to the adapter, averages the weights, and saves what is trained."""

import random
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from calm_ft.adapters.base import LossOutput, RowResiduals, TTSAdapter
from calm_ft.finetuning.ema import ExponentialMovingAverage
from calm_ft.finetuning.strategy import Strategy
from calm_ft.randomness import derive_seed, make_rng
from calm_ft.training.optimizers import OptimizerFactory
from calm_ft.training.residuals import ResidualMean
from calm_ft.training.resume import trained_weights


class FineTuning(LightningModule):
    """Training batch `k` draws its noise from (seed, "train", k), row by row; validation from (seed, "validation").

    `k` counts all batches of the run, so that neither gradient accumulation nor a shortened epoch repeats a draw. The
    global random states, which libraries may use, are reseeded by (seed, k, rank).
    """

    def __init__(
        self,
        adapter: TTSAdapter,
        strategy: Strategy,
        optimizer: OptimizerFactory,
        ema_decay: float,
        seed: int,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        """identity: of the run (`resume.run_identity`); a checkpoint is resumed only if it has the same."""
        super().__init__()
        self.adapter = adapter
        self.strategy = strategy
        self.optimizer_factory = optimizer
        self.seed = seed
        self.identity = dict(identity or {})
        self.ema = ExponentialMovingAverage(adapter, ema_decay)
        self.strict_loading = False  # a checkpoint holds only what is trained
        self._frames_of_step = 0.0
        self._averaged = ExitStack()
        self._validation = ResidualMean()

    def configure_optimizers(self) -> Any:
        components = self.strategy.trained_components(self.adapter)
        optimizer, schedule = self.optimizer_factory.build(components, int(self.trainer.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        self.strategy.set_modes(self.adapter)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        index = self.trainer.fit_loop.epoch_loop.total_batch_idx
        reseed(self.seed, index, self.global_rank)
        output = self.adapter.loss(batch, make_rng(self.seed, "train", index))
        num_frames, counts = self._mean_counts(output)
        total = output.total_over(counts)
        self.log("train/loss", total.detach(), prog_bar=True, sync_dist=True)
        self.log_dict({f"train/{name}": value for name, value in output.parts.items()})
        return total * self._micro_batch_factor(index, num_frames)

    def _mean_counts(self, output: LossOutput) -> tuple[float, dict[str, float]]:
        """The number of frames, and each term's count, averaged over processes as Lightning averages their gradients.

        With it every row has the same weight, whichever process computed it.
        """
        counted = [float(output.num_frames), *(float(term.count) for term in output.terms.values())]
        if self.trainer.world_size > 1:
            counts = torch.tensor(counted, dtype=torch.float32, device=self.device)
            counted = self.trainer.strategy.reduce(counts, reduce_op="mean").tolist()
        num_frames, *rest = counted
        return num_frames, dict(zip(output.terms, rest, strict=True))

    def _micro_batch_factor(self, index: int, num_frames: float) -> float:
        """Makes the micro-batches of a step one batch, in which every frame has the same weight.

        Lightning adds gradients divided by the number of micro-batches. What was added so far is scaled down here, and
        the loss to come is scaled by the returned factor, so that the sum is the mean over all frames so far. Between
        steps a frame's weight does differ: a step's gradient is a mean, and the size of a step depends on its rate.
        """
        num_batches = self.trainer.accumulate_grad_batches
        if num_batches == 1:
            return 1.0
        before = self._frames_of_step if index % num_batches else 0.0
        self._frames_of_step = before + num_frames
        if before:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(before / self._frames_of_step)
        return num_batches * num_frames / self._frames_of_step

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.ema.update()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        interval = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if interval and (self.trainer.global_step + 1) % interval == 0:  # when Lightning passes values to the loggers
            self.log_dict({f"train/{name}": value for name, value in self.strategy.figures(self.adapter).items()})
        self.log("train/lr", max(group["lr"] for group in optimizer.param_groups))
        rates = {f"train/lr/{group['component']}": group["lr"] for group in optimizer.param_groups}
        if len(set(rates.values())) > 1:
            self.log_dict(rates)

    def on_validation_epoch_start(self) -> None:
        self._averaged.enter_context(self.ema.applied())
        self.adapter.eval()
        self._validation = ResidualMean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._validation.add(self.residuals(batch))

    def on_validation_epoch_end(self) -> None:
        self._averaged.close()
        self.strategy.set_modes(self.adapter)
        means = self._validation.joined(self.trainer.world_size).means()
        self.log("val/residual", means.pop("residual"), prog_bar=True)
        self.log_dict({f"val/{name}": value for name, value in means.items()})

    def residuals(self, batch: Any) -> RowResiduals:
        """Unweighted residuals of a validation batch under fixed noise and times."""
        return self.adapter.residuals(batch, self.seed)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self.strategy.trainable_state(self.adapter)
        checkpoint["ema"] = self.ema.state_dict()
        checkpoint["identity"] = self.identity
        del checkpoint["loops"]  # `global_step` is enough to continue from: callbacks/restore.py

    def load_weights(self, checkpoint: Mapping[str, Any], averaged: bool = True) -> None:
        """Load a checkpoint's weights, by default the averaged ones, and fitted statistics into the adapter."""
        self.strategy.load_state(self.adapter, trained_weights(checkpoint, averaged))


def reseed(seed: int, index: int, rank: int) -> None:
    """Set the global random states as a function of the batch, so that nothing drawn before can change training."""
    derived = derive_seed(seed, "global", index, rank)
    torch.manual_seed(derived)
    np.random.seed(derived % 2**32)
    random.seed(derived)
