"""The LightningModule: hands batches to the adapter, keeps the average, saves what is trained."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from calm_ft.adapters.base import RowResiduals, TTSAdapter
from calm_ft.finetuning.ema import ExponentialMovingAverage
from calm_ft.finetuning.strategy import Strategy
from calm_ft.randomness import make_rng
from calm_ft.training.checkpoints import averaged_weights
from calm_ft.training.optimizers import OptimizerFactory
from calm_ft.training.residuals import ResidualMean


class FineTuning(LightningModule):
    """Batch `k` of training draws from (seed, "train", k, rank); validation always from (seed, "validation").

    `k` counts all batches that went through, so that neither accumulation nor a shortened epoch repeats a draw.
    """

    def __init__(
        self, adapter: TTSAdapter, strategy: Strategy, optimizer: OptimizerFactory, ema_decay: float, seed: int
    ) -> None:
        super().__init__()
        self.adapter = adapter
        self.strategy = strategy
        self.optimizer_factory = optimizer
        self.seed = seed
        self.ema = ExponentialMovingAverage(adapter, ema_decay)
        self.strict_loading = False  # a checkpoint holds only what is trained
        self._averaged = ExitStack()
        self._validation = ResidualMean()

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.optimizer_factory.build(self.adapter, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        self.strategy.set_modes(self.adapter)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        index = self.trainer.fit_loop.epoch_loop.total_batch_idx
        rng = make_rng(self.seed, "train", index, self.global_rank)
        output = self.adapter.loss(batch, rng)
        self.log("train/loss", output.total.detach(), prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in output.parts.items()})
        return output.total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.ema.update()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in self.adapter.parameters() if p.grad is not None]
        self.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients))
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        self._averaged.enter_context(self.ema.applied())
        self.adapter.eval()
        self._validation = ResidualMean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._validation.add(self.residuals(batch))

    def on_validation_epoch_end(self) -> None:
        self._averaged.close()
        self.strategy.set_modes(self.adapter)
        means = self._validation.means()
        self.log("val/residual", means.pop("residual"), prog_bar=True)
        self.log_dict({f"val/{name}": value for name, value in means.items()})

    def residuals(self, batch: Any) -> RowResiduals:
        """Unweighted residuals of a validation batch under fixed noise and times."""
        return self.adapter.residuals(batch, self.seed)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self.strategy.trainable_state(self.adapter)
        checkpoint["ema"] = self.ema.state_dict()

    def load_weights(self, checkpoint: Mapping[str, Any]) -> None:
        """Put a checkpoint's averaged weights (and fitted statistics) into the adapter."""
        self.strategy.load_state(self.adapter, averaged_weights(checkpoint))
