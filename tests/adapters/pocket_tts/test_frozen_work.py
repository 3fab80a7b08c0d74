"""What is frozen is computed once in a step, keeps no activations, needs no gradient and never moves."""

from collections import Counter
from functools import partial

import pytest
import torch
from torch import nn

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Full, HeadOnly, LastNLayers, Strategy
from calm_ft.randomness import make_rng
from tests.adapters.contract import fit_batch
from tests.conftest import NANO, default_objective

STRATEGIES = [HeadOnly(), LastNLayers(2), Full()]


def saved_bytes(adapter: PocketTTSAdapter, batch: object) -> tuple[int, torch.Tensor]:
    """Bytes of distinct activations that the trunk keeps for the backward pass, and the loss."""
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in adapter.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = adapter.hidden(batch)  # type: ignore[arg-type]
    return sum(kept.values()), adapter.head_loss(hidden, seed=0).total


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: type(each).__name__)
def test_every_layer_runs_once_a_step_and_frozen_parameters_get_no_gradient_and_do_not_move(
    nano_adapter, three_examples, strategy: Strategy
):
    strategy.apply(nano_adapter, 1e-2)
    batch = nano_adapter.collate(three_examples(nano_adapter))
    calls: Counter[str] = Counter()
    lm = nano_adapter.flow_lm
    watched: dict[str, nn.Module] = {f"layer {i}": layer.norm2 for i, layer in enumerate(lm.transformer.layers)}
    watched |= {"text table": lm.conditioner, "latent input": lm.input_linear, "output norm": lm.out_norm}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name])) for name, module in watched.items()
    ]
    nano_adapter.loss(batch, make_rng(0, "loss")).total.backward()
    for hook in hooks:
        hook.remove()
    assert calls == dict.fromkeys(watched, 1)
    frozen = {name: p.detach().clone() for name, p in nano_adapter.named_parameters() if not p.requires_grad}
    assert all(p.grad is None for name, p in nano_adapter.named_parameters() if name in frozen)
    nano_adapter.zero_grad()
    fit_batch(nano_adapter, batch, num_steps=2, lr=1e-2)
    now = dict(nano_adapter.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())


@pytest.mark.parametrize(
    "strategy", [*STRATEGIES, Lora(2, 4.0, {"backbone": ["in_proj", "linear1"]})], ids=lambda each: type(each).__name__
)
def test_a_step_reads_nothing_back_from_the_device(nano_adapter, three_examples, strategy: Strategy):
    """What it would read, a GPU would have to be waited for. A tensor on the meta device has no values to read."""
    strategy.apply(nano_adapter, 1e-3)
    rng = partial(make_rng, 0, "loss")
    batch = nano_adapter.with_draws(nano_adapter.collate(three_examples(nano_adapter)), rng())
    meta = torch.device("meta")
    loss = nano_adapter.to(meta).loss(batch.to(meta), rng()).total
    loss.backward()
    assert loss.device == meta
    assert any(p.grad is not None for p in nano_adapter.parameters())


def test_fewer_trained_layers_keep_fewer_activations(three_examples):
    kept = []
    for strategy in STRATEGIES:
        adapter = PocketTTSAdapter(str(NANO), default_objective())
        strategy.apply(adapter, 1e-3)
        kept.append(saved_bytes(adapter, adapter.collate(three_examples(adapter)))[0])
    head, last, full = kept
    assert head == 0
    assert full / 6 < last < full / 2  # two layers of six, and the output norm


def test_gradient_checkpointing_keeps_less_and_gives_the_same_bits(three_examples):
    gradients, kept = [], []
    for checkpointing in (False, True):
        adapter = PocketTTSAdapter(str(NANO), default_objective(), gradient_checkpointing=checkpointing)
        Full().apply(adapter, 1e-3)
        with torch.inference_mode():  # as an evaluation does, which makes upstream's mask
            adapter.hidden(adapter.collate(three_examples(adapter)))
        num_bytes, loss = saved_bytes(adapter, adapter.collate(three_examples(adapter)))
        loss.backward()
        kept.append(num_bytes)
        gradients.append({name: p.grad for name, p in adapter.named_parameters() if p.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)
    assert kept[1] < 0.12 * kept[0]  # a layer keeps its input alone


def test_checkpointed_layers_still_stream(three_examples, tmp_path):
    texts = ["Hello there."]
    spoken = []
    for checkpointing in (False, True):
        adapter = PocketTTSAdapter(str(NANO), default_objective(), gradient_checkpointing=checkpointing)
        voice = adapter.load_voice(next((NANO.parent / "demo_voice" / "heldout").glob("*.ogg")))
        spoken.append(adapter.synthesize(texts, voice, seed=0)[0].audio)
    assert torch.equal(*spoken)
