"""Training steps: one-condition heads, reduced precision, the accelerator, and what runs beside them."""

import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.rows import assembled, drop_conditioning, normalized
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import HeadOnly
from calm_ft.flow.sampling import sample_euler
from calm_ft.randomness import make_rng
from tests.adapters.contract import fit_batch
from tests.adapters.recordings import write_speechlike
from tests.adapters.tiny_bundle import write_tiny_bundle
from tests.conftest import NANO, default_objective, flow_matching_objective


@pytest.fixture
def flow_matching_adapter(tmp_path) -> PocketTTSAdapter:
    bundle = write_tiny_bundle(tmp_path / "bundle", head="flow_matching")
    return PocketTTSAdapter(str(bundle), flow_matching_objective())


def test_lsd_is_refused_for_a_head_with_one_time_condition(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "bundle", head="flow_matching")
    with pytest.raises(UserError, match=r"has 1: choose objective=flow_matching"):
        PocketTTSAdapter(str(bundle), default_objective())


def test_a_head_with_one_time_condition_trains_by_flow_matching(flow_matching_adapter, three_examples):
    adapter = flow_matching_adapter
    HeadOnly().apply(adapter, lr=1e-2)
    batch = adapter.collate(three_examples(adapter))
    losses = fit_batch(adapter, batch, num_steps=60, lr=1e-2)
    assert losses[-1] < 0.9 * losses[0]
    assert set(adapter.residuals(batch, 0).values) == {"residual", "flow", "eos"}
    assert "lsd" not in adapter.loss(batch, make_rng(0, "loss")).parts


def test_a_head_with_one_time_condition_speaks_by_euler_steps(flow_matching_adapter, tmp_path):
    adapter = flow_matching_adapter
    voice = adapter.load_voice(write_speechlike(tmp_path / "voice.wav", 1.0, adapter.sample_rate_hz))
    calls = []
    hook = adapter.flow_lm.flow_net.register_forward_pre_hook(lambda _, args: calls.append(args))
    spoken = adapter.synthesize(["Hello."], voice, seed=0)[0]
    hook.remove()
    num_frames = len(spoken.audio) // adapter.mimi.frame_size
    assert len(calls) == 16 * num_frames
    z, _, x0 = calls[0]
    final = sample_euler(lambda t, x: adapter.flow_lm.flow_net(z, t, x), x0, 16)
    last_z, last_t, last_x = calls[15]
    torch.testing.assert_close(final, last_x + adapter.flow_lm.flow_net(last_z, last_t, last_x) / 16)


def test_bf16_autocast_gives_nearly_the_fp32_loss_and_finite_gradients(nano_adapter, three_examples):
    batch = nano_adapter.collate(three_examples(nano_adapter))
    full = nano_adapter.loss(batch, make_rng(0, "loss")).total.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = nano_adapter.loss(batch, make_rng(0, "loss")).total
        residuals = nano_adapter.residuals(batch, seed=0).values
    reduced.backward()
    assert reduced.item() == pytest.approx(full, rel=0.02)
    assert all(bool(p.grad.isfinite().all()) for p in nano_adapter.flow_lm.parameters() if p.grad is not None)
    for name, value in nano_adapter.residuals(batch, seed=0).values.items():
        torch.testing.assert_close(residuals[name], value, rtol=0.05, atol=0.02)


@pytest.mark.slow
def test_a_validation_in_inference_mode_does_not_hinder_the_training_after_it(nano_adapter, make_example):
    """Upstream keeps its attention mask between calls, and Lightning validates in inference mode."""
    batch = nano_adapter.collate([make_example(nano_adapter, "very long", 700, "A long row.")])
    with torch.inference_mode():
        inside = nano_adapter.residuals(batch, seed=0).values
    outside = nano_adapter.residuals(batch, seed=0).values
    assert all(torch.equal(inside[name], outside[name]) for name in outside)
    nano_adapter.loss(batch, make_rng(0, "loss")).total.backward()
    assert all(bool(p.grad.isfinite().all()) for p in nano_adapter.flow_lm.transformer.parameters())


def test_rows_without_any_prompt_train(nano_adapter, make_example):
    batch = nano_adapter.collate([make_example(nano_adapter, name, 9, "No prompt.") for name in ("a", "b")])
    assert batch.prompt_latents.shape[1] == 0
    assert bool(nano_adapter.loss(batch, make_rng(0, "loss")).total.isfinite())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_loss_and_residuals_on_cuda_are_those_of_the_cpu(three_examples):
    adapter = PocketTTSAdapter(str(NANO), default_objective())
    batch = adapter.collate(three_examples(adapter))
    loss, residuals = adapter.loss(batch, make_rng(0, "loss")).total, adapter.residuals(batch, 0).values
    adapter.to("cuda")
    for name, value in vars(batch).items():
        setattr(batch, name, value.to("cuda") if isinstance(value, torch.Tensor) else value)
    on_cuda = adapter.loss(batch, make_rng(0, "loss")).total
    on_cuda.backward()
    torch.testing.assert_close(on_cuda.cpu(), loss, rtol=1e-3, atol=1e-4)
    for name, value in adapter.residuals(batch, 0).values.items():
        torch.testing.assert_close(value.cpu(), residuals[name], rtol=1e-3, atol=1e-3)


def test_a_loss_with_draws_made_beforehand_has_the_same_bits(nano_adapter, three_examples):
    batch = nano_adapter.collate(three_examples(nano_adapter))
    plain = nano_adapter.loss(batch, make_rng(0, "train", 3)).total
    drawn = nano_adapter.with_draws(batch, make_rng(0, "train", 3))
    assert drawn.drawn is not None
    assert torch.equal(nano_adapter.loss(drawn, make_rng(0, "train", 3)).total, plain)
    assert not torch.equal(nano_adapter.loss(drawn, make_rng(0, "train", 4)).total, plain)  # drawn for another batch


def test_rows_are_no_longer_than_their_conditions_need_where_these_are_dropped(nano_adapter, three_examples):
    batch = nano_adapter.collate(three_examples(nano_adapter))
    dropped = drop_conditioning(batch, 1.0, seed=0)
    assert dropped.row_length == 1 + batch.latents.shape[1]
    for each in (batch, dropped):
        rows, prefixes = assembled(nano_adapter.flow_lm, each, normalized(nano_adapter.flow_lm, each))
        assert rows.shape[1] == int(prefixes.max()) + each.latents.shape[1]
