"""A loss or gradient that is not finite stops training before it reaches the weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.callbacks.nonfinite import StopAtNonFinite
from calm_ft.training.module import FineTuning
from calm_ft.training.resume import read_checkpoint
from calm_ft.training.settings import CheckpointSettings
from tests.training.tiny_run import assert_same, fit, trained_state

Clips = list[EncodedUtterance]
EACH = CheckpointSettings(every_n_steps=1, keep=2, monitor="val/residual", mode="min")


class SpoilLatents(Callback):
    """One batch's latents become NaN, as a broken feature file would make them."""

    def __init__(self, at_batch: int) -> None:
        self.at_batch = at_batch
        self.before: dict[str, torch.Tensor] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.at_batch:
            self.before = trained_state(pl_module)  # type: ignore[arg-type]
            batch.latents[0, 0] = torch.nan


class SpoilGradient(Callback):
    """The loss is finite and one gradient is not."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 2:
            assert isinstance(pl_module, FineTuning)
            weight = dict(pl_module.adapter.named_parameters())["flow_lm.out_eos.weight"]
            assert weight.grad is not None
            weight.grad[0, 0] = torch.inf


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_nan_loss_leaves_the_weights_and_names_step_and_clips(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, accumulate: int
) -> None:
    spoil = SpoilLatents(at_batch=2 * accumulate)
    callbacks = [spoil, StopAtNonFinite(tmp_path), *checkpoint_callbacks(tmp_path / "checkpoints", EACH)]
    with pytest.raises(UserError, match=r"not finite at step 3 \(clips ") as raised:
        fit(nano_adapter, clips, tmp_path, max_steps=9, accumulate_grad_batches=accumulate, callbacks=callbacks)
    now = {name: p.detach() for name, p in nano_adapter.named_parameters() if p.requires_grad}
    assert_same(spoil.before, now)
    assert_same(read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"], now)
    kept = torch.load(tmp_path / "nonfinite-step-00000003-rank-0.pt", weights_only=True)
    assert len(kept["batches"]) == accumulate
    assert torch.isnan(kept["batches"][0]["latents"]).any()
    ids = [each for batch in kept["batches"] for each in batch["utterance_ids"]]
    assert all(each in str(raised.value) for each in ids)


class SpoilPrompts(Callback):
    """The voice prompts become NaN, as broken features of another clip would make them."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.ids = batch.prompt_ids
        batch.prompt_latents.fill_(torch.nan)


def test_the_clips_that_prompt_a_bad_batch_are_named_too(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    spoil = SpoilPrompts()
    with pytest.raises(UserError, match="voice prompts ") as raised:
        fit(nano_adapter, clips, tmp_path, max_steps=2, callbacks=[spoil, StopAtNonFinite(tmp_path)])
    named = str(raised.value).partition("voice prompts ")[2]
    assert spoil.ids
    assert all(each in named for each in spoil.ids)


def test_a_gradient_that_is_not_finite_stops_too_and_is_named(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="at step 3"):
        fit(nano_adapter, clips, tmp_path, max_steps=9, callbacks=[SpoilGradient(), StopAtNonFinite(tmp_path)])
    kept = torch.load(tmp_path / "nonfinite-step-00000003-rank-0.pt", weights_only=True)
    assert kept["nonfinite_gradients"] == ["adapter.flow_lm.out_eos.weight"]
    assert torch.isfinite(kept["losses"]).all()


def test_the_gradient_norm_is_that_of_what_trains(nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path) -> None:
    norms: list[tuple[float, float]] = []

    class Compare(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, _: Any) -> None:
            by_hand = sum(float(p.grad.square().sum()) for p in pl_module.parameters() if p.grad is not None) ** 0.5
            norms.append((float(trainer.callback_metrics["train/gradient_norm"]), by_hand))

    fit(nano_adapter, clips, tmp_path, max_steps=2, callbacks=[StopAtNonFinite(tmp_path), Compare()])
    assert len(norms) == 2
    for logged, by_hand in norms:
        assert logged == pytest.approx(by_hand, rel=1e-5)
