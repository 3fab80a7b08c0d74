"""What frozen layers make of a row is kept, and training goes on from it as if they had run."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.feature_cache import CacheEntry, FeatureCache
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Full, HeadOnly, LastNLayers, Strategy
from calm_ft.randomness import make_rng
from tests.conftest import NANO, default_objective

SAME: Any = dict(rtol=1e-4, atol=1e-6)  # float32 over six layers, in batches of another length


def keep(adapter: PocketTTSAdapter, examples, folder) -> FeatureCache:
    """Every example's outputs, computed alone, so that no batch mate and no padding takes part."""
    cache = FeatureCache(folder, str(adapter.trunk_fingerprint()))
    for example in examples:
        (outputs,) = adapter.trunk_outputs([example])
        cache.write_shard({adapter.trunk_key(example): CacheEntry(outputs, example.target.num_frames, 1.0)})
    return cache


def loss_and_gradients(adapter: PocketTTSAdapter, batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    adapter.zero_grad()
    loss = adapter.loss(batch, make_rng(0, "loss")).total
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in adapter.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("strategy", [HeadOnly(), LastNLayers(2)], ids=["head_only", "last_n_layers"])
def test_a_step_from_kept_outputs_is_the_step_in_which_all_layers_run(
    nano_adapter, three_examples, tmp_path, strategy: Strategy
):
    strategy.apply(nano_adapter, 1e-3)
    examples = three_examples(nano_adapter)
    plain = nano_adapter.collate(examples)
    expected, gradients = loss_and_gradients(nano_adapter, plain)
    expected_residuals = nano_adapter.residuals(plain, 0).values
    nano_adapter.trunk_cache = keep(nano_adapter, examples, tmp_path)
    batch = nano_adapter.collate(examples)
    ran = []
    first = nano_adapter.flow_lm.transformer.layers[0]
    hook = first.register_forward_hook(lambda *_: ran.append(1))
    loss, kept_gradients = loss_and_gradients(nano_adapter, batch)
    residuals = nano_adapter.residuals(batch, 0).values
    hook.remove()
    assert not ran
    torch.testing.assert_close(loss, expected, **SAME)
    assert kept_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(kept_gradients[name], gradient, rtol=1e-3, atol=1e-5)
    for name, values in expected_residuals.items():
        torch.testing.assert_close(residuals[name], values, **SAME)


def test_kept_layers_are_as_many_as_are_frozen_from_the_first_on(nano_adapter):
    depth = len(nano_adapter.flow_lm.transformer.layers)
    HeadOnly().apply(nano_adapter, 1e-3)
    heads = nano_adapter.trunk_fingerprint()
    LastNLayers(2).apply(nano_adapter, 1e-3)
    two = nano_adapter.trunk_fingerprint()
    LastNLayers(depth - 1).apply(nano_adapter, 1e-3)
    one = nano_adapter.trunk_fingerprint()
    assert len({heads, two, one, None}) == 4
    for strategy in (LastNLayers(depth), Full(), Lora(rank=4, alpha=8, targets={"backbone": ["in_proj"]})):
        strategy.apply(nano_adapter, 1e-3)
        assert nano_adapter.trunk_fingerprint() is None


def test_a_changed_frozen_weight_has_another_cache_and_a_changed_trained_one_has_not(nano_adapter):
    LastNLayers(2).apply(nano_adapter, 1e-3)
    before = nano_adapter.trunk_fingerprint()
    layers = nano_adapter.flow_lm.transformer.layers
    with torch.no_grad():
        layers[-1].linear1.weight += 1
        nano_adapter.flow_lm.out_norm.weight += 1
    assert nano_adapter.trunk_fingerprint() == before
    with torch.no_grad():
        layers[0].linear1.weight += 1
    assert nano_adapter.trunk_fingerprint() != before


@pytest.mark.parametrize("setting", ["conditioning_dropout", "input_noise_std", "attention_guide_weight"])
def test_nothing_is_kept_where_each_step_changes_what_enters_the_layers(setting):
    settings: dict[str, Any] = {setting: 0.1}
    adapter = PocketTTSAdapter(str(NANO), default_objective(), **settings)
    HeadOnly().apply(adapter, 1e-3)
    assert adapter.trunk_fingerprint() is None


def test_another_text_prompt_or_cut_is_another_row(nano_adapter, three_examples):
    HeadOnly().apply(nano_adapter, 1e-3)
    example, other, _ = three_examples(nano_adapter)
    utterance = replace(example.target.utterance, text="It is another text.")
    changed = [
        replace(example, target=replace(example.target, utterance=utterance)),
        replace(example, prompt=other.target if other.target is not example.prompt else None),
        replace(example, seed=example.seed + 1),
    ]
    keys = {nano_adapter.trunk_key(each) for each in (example, *changed)}
    assert len(keys) == 4
    assert nano_adapter.trunk_key(replace(example, place=5)) in keys


def test_a_batch_of_which_one_row_is_not_kept_runs_all_layers(nano_adapter, three_examples, tmp_path):
    HeadOnly().apply(nano_adapter, 1e-3)
    examples = three_examples(nano_adapter)
    nano_adapter.trunk_cache = keep(nano_adapter, examples[:2], tmp_path)
    assert nano_adapter.collate(examples[:2]).kept is not None
    assert nano_adapter.collate(examples).kept is None
