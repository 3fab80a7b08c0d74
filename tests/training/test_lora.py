"""LoRA trained: what moves, what a checkpoint holds, resuming, and the merged model against the adapted one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from pocket_tts.models.tts_model import TTSModel
from torch import Tensor

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.dataset import Example
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.finetuning.lora_layers import lora_layers
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.optimizers import OptimizerFactory
from calm_ft.training.resume import read_checkpoint
from tests.conftest import NANO, default_objective
from tests.finetuning.lora_parts import lora, own_bits, same, with_lora
from tests.training.test_resume import EVERY_TWO, Noise, assert_same_state, muon, point_at
from tests.training.tiny_run import adamw, assert_same, fit, trained_state

Clips = list[EncodedUtterance]
MAX_CHECKPOINT_BYTES = 1_200_000  # 61,440 LoRA weights, their average and two moments: 0.98 MB; the model has 16.9 MB


def nano(**settings: Any) -> PocketTTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective(), **settings)


def batch_of(adapter: PocketTTSAdapter, clips: Clips) -> Any:
    """Two rows, each prompted by another clip."""
    return adapter.collate([Example(clips[0], clips[2], 0), Example(clips[1], clips[3], 1)])


def residuals(adapter: PocketTTSAdapter, clips: Clips) -> dict[str, Tensor]:
    adapter.eval()
    return adapter.residuals(batch_of(adapter, clips), seed=0).values


def say(adapter: PocketTTSAdapter, prompt: Path) -> Tensor:
    """Streaming synthesis: a voice prompt, and frame after frame."""
    adapter.eval()
    with torch.no_grad():
        return adapter.synthesize(["Hello there."], adapter.load_voice(prompt), seed=0)[0].audio


class Gradients(Callback):
    """The names of the parameters that have gradients at a step."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        adapter = pl_module.adapter
        assert isinstance(adapter, PocketTTSAdapter)
        self.names |= {name for name, p in adapter.named_parameters() if p.grad is not None}


def test_only_lora_weights_have_gradients_and_move_and_the_base_keeps_its_bits(clips: Clips, tmp_path: Path) -> None:
    before, gradients = own_bits(nano()), Gradients()
    untrained = nano()
    lora().apply(untrained, 1e-3)
    module, _ = fit(nano(), clips, tmp_path, strategy=lora(), max_steps=3, callbacks=[gradients])
    assert same(own_bits(module.adapter), before)
    trained, start = trained_state(module), dict(untrained.named_parameters())
    assert gradients.names == trained.keys() == {name for name in start if ".lora_" in name}
    assert all(not torch.equal(tensor, start[name]) for name, tensor in trained.items())


def test_a_checkpoint_holds_lora_weights_alone_and_is_small(clips: Clips, tmp_path: Path) -> None:
    fit(nano(), clips, tmp_path, strategy=lora(), max_steps=2, callbacks=checkpoint_callbacks(tmp_path, EVERY_TWO))
    checkpoint = read_checkpoint(tmp_path / "last.ckpt")
    for weights in (checkpoint["state_dict"], checkpoint["ema"]["shadow"]):
        assert len(weights) == 2 * 4 * 6
        assert all(name.endswith((".lora_A.default.weight", ".lora_B.default.weight")) for name in weights)
    assert (tmp_path / "last.ckpt").stat().st_size < MAX_CHECKPOINT_BYTES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [(None, {"accumulate_grad_batches": 2}), (None, {"precision": "bf16-mixed"}), (muon(), {})],
)
def test_a_resumed_run_ends_in_the_same_bits(
    clips: Clips, tmp_path: Path, optimizer: OptimizerFactory | None, settings: dict[str, Any]
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    common: dict[str, Any] = {"optimizer": optimizer, "max_steps": 4, **settings}
    saving, again = checkpoint_callbacks(whole, EVERY_TWO), checkpoint_callbacks(resumed, EVERY_TWO)
    first, _ = fit(nano(), clips, whole, strategy=lora(dropout=0.2), callbacks=saving, **common)
    point = point_at(whole, 2)
    second, _ = fit(
        nano(), clips, resumed, strategy=lora(dropout=0.2), callbacks=[*again, Noise()], point=point, **common
    )
    assert_same(trained_state(first), trained_state(second))
    one, other = (read_checkpoint(folder / "last.ckpt") for folder in (whole, resumed))
    for part in ("state_dict", "ema", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same_state(one[part], other[part])


def test_dropout_is_a_function_of_the_seed_and_changes_training(clips: Clips, tmp_path: Path) -> None:
    shares = (0.5, 0.5, 0.0)
    runs = [fit(nano(), clips, tmp_path, strategy=lora(dropout=share), max_steps=2)[0] for share in shares]
    first, second, without = map(trained_state, runs)
    assert_same(first, second)
    assert not same(first, without)


@pytest.mark.slow
def test_the_merged_model_is_the_adapted_one_within_float_error_and_not_the_base(
    clips: Clips, tmp_path: Path, speech_file: Path
) -> None:
    base_residuals, base_speech = residuals(nano(), clips), say(nano(), speech_file)
    strategy = lora()
    module, _ = fit(nano(), clips, tmp_path, strategy=strategy, max_steps=20, optimizer=adamw(1e-2))
    adapter = module.adapter
    assert isinstance(adapter, PocketTTSAdapter)
    adapted, adapted_speech = residuals(adapter, clips), say(adapter, speech_file)
    with strategy.merged(adapter):
        merged, merged_speech = residuals(adapter, clips), say(adapter, speech_file)
    for name, values in adapted.items():
        torch.testing.assert_close(merged[name], values, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(adapted["residual"], base_residuals["residual"], rtol=1e-2)
    # Frame by frame the error feeds on itself, so that speech agrees less closely than residuals.
    assert merged_speech.shape == adapted_speech.shape
    error = (merged_speech - adapted_speech).norm() / adapted_speech.norm()
    assert error < 1e-3
    num_samples = min(len(base_speech), len(adapted_speech))
    assert (base_speech[:num_samples] - adapted_speech[:num_samples]).norm() / adapted_speech.norm() > 0.2


def test_stock_loads_a_merged_export_strictly_with_the_same_residuals(
    clips: Clips, tmp_path: Path, speech_file: Path
) -> None:
    adapter = nano()
    strategy = with_lora(adapter)
    adapted = residuals(adapter, clips)
    with strategy.merged(adapter):
        adapter.export(tmp_path / "export", speech_file)
    stock = TTSModel.load_model(config=tmp_path / "export" / "config.yaml")
    assert stock.state_dict().keys() == nano().tts.state_dict().keys()
    exported = PocketTTSAdapter(str(tmp_path / "export"), default_objective())
    assert all(torch.equal(tensor, stock.state_dict()[name]) for name, tensor in exported.tts.state_dict().items())
    for name, values in residuals(exported, clips).items():
        torch.testing.assert_close(values, adapted[name], rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_gives_the_same_bits(clips: Clips, tmp_path: Path) -> None:
    plain, recomputed = (
        fit(nano(gradient_checkpointing=on), clips, tmp_path, strategy=lora(dropout=0.2), max_steps=2)[0]
        for on in (False, True)
    )
    assert_same(trained_state(plain), trained_state(recomputed))


def test_lora_upon_the_flow_head_trains_through_its_time_derivatives(clips: Clips, tmp_path: Path) -> None:
    strategy = lora(targets={"flow_head": "all", "eos_head": "all"})
    gradients = Gradients()
    module, _ = fit(nano(), clips, tmp_path, strategy=strategy, max_steps=2, callbacks=[gradients])
    assert gradients.names == trained_state(module).keys()
    assert all(name.startswith(("flow_lm.flow_net.", "flow_lm.out_eos")) for name in lora_layers(module.adapter))
    assert all(bool(tensor.isfinite().all()) for tensor in trained_state(module).values())


def test_muon_is_refused_where_lora_is_upon_no_hidden_matrix(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose optimizer=adamw"):
        fit(nano(), clips, tmp_path, strategy=lora(targets={"eos_head": "all"}), optimizer=muon(), max_steps=1)


def test_the_update_ratio_is_logged_as_training_goes_on(clips: Clips, tmp_path: Path) -> None:
    logged: list[float] = []

    class Ratios(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            logged.append(float(trainer.callback_metrics["train/lora_update_ratio"]))

    fit(nano(), clips, tmp_path, strategy=lora(), max_steps=3, log_every_n_steps=1, callbacks=[Ratios()])
    assert logged[0] == 0
    assert 0 < logged[1] < logged[2]
