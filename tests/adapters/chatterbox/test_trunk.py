"""What T3's frozen layers make of a row is kept, and training goes on from it as if they had run."""

from pathlib import Path

import pytest
import torch

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import CacheEntry, FeatureCache
from calm_ft.finetuning.strategy import Full, LastNLayers
from calm_ft.randomness import make_rng
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.chatterbox.test_t3_objective import objective


def keep(adapter: ChatterboxAdapter, examples: list[Example], folder: Path) -> None:
    """Every example's outputs, computed alone, so that no batch mate and no padding takes part."""
    cache = FeatureCache(folder, str(adapter.trunk_fingerprint()))
    for example in examples:
        (outputs,) = adapter.trunk_outputs([example])
        cache.write_shard({adapter.trunk_key(example): CacheEntry(outputs, example.target.num_frames, 1.0)})
    adapter.trunk_cache = cache


def placed(examples: list[Example]) -> list[Example]:
    return [Example(each.target, each.prompt, each.seed, place) for place, each in enumerate(examples)]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("double_start", [False, True])
def test_a_step_from_kept_outputs_is_the_step_in_which_all_layers_run(
    adapter: ChatterboxAdapter, examples: list[Example], tmp_path: Path, dropout: float, double_start: bool
) -> None:
    adapter.objective = objective(text_dropout=dropout, condition_dropout=dropout, double_start=double_start)
    LastNLayers(1).apply(adapter, 1e-3)
    rows = placed(examples)
    plain = adapter.collate(rows)
    keep(adapter, rows, tmp_path)
    kept = adapter.collate(rows)
    assert kept.kept is not None
    first = adapter.t3.tfmr.layers[0]
    for seed in range(4):
        found = []
        for batch in (plain, kept):
            ran: list[int] = []
            hook = first.register_forward_hook(lambda _, inputs, __, ran=ran: ran.append(len(inputs[0])))
            adapter.zero_grad()
            loss = adapter.loss(batch, make_rng(seed, "loss")).total
            loss.backward()
            hook.remove()
            gradients = {name: p.grad for name, p in adapter.named_parameters() if p.grad is not None}
            found.append((loss.detach(), gradients, sum(ran)))
        (loss, gradients, num_rows), (kept_loss, kept_gradients, num_run) = found
        assert num_rows == len(rows)
        assert num_run < len(rows) or dropout
        torch.testing.assert_close(kept_loss, loss, rtol=1e-4, atol=1e-6)
        assert kept_gradients.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(kept_gradients[name], gradient, rtol=1e-3, atol=1e-5)
    for name, values in adapter.residuals(plain, 0).values.items():
        torch.testing.assert_close(adapter.residuals(kept, 0).values[name], values, rtol=1e-4, atol=1e-5)


def test_only_the_frozen_layers_weights_name_the_cache(adapter: ChatterboxAdapter) -> None:
    LastNLayers(1).apply(adapter, 1e-3)
    before = adapter.trunk_fingerprint()
    with torch.no_grad():
        adapter.t3.tfmr.layers[-1].mlp.up_proj.weight += 1
        adapter.t3.speech_head.weight += 1
    assert before is not None
    assert adapter.trunk_fingerprint() == before
    with torch.no_grad():
        adapter.t3.text_emb.weight += 1
    assert adapter.trunk_fingerprint() != before


@pytest.mark.parametrize("experiment", ["chatterbox_s3gen", "chatterbox_full"])
def test_nothing_is_kept_where_t3_does_not_train_alone_or_as_a_whole(experiment: str) -> None:
    other = make_adapter(experiment)
    Full().apply(other, 1e-3)
    assert other.trunk_fingerprint() is None
    whole = make_adapter()
    Full().apply(whole, 1e-3)
    assert whole.trunk_fingerprint() is None


def test_another_prompt_is_another_row(adapter: ChatterboxAdapter, examples: list[Example]) -> None:
    first, second, *_ = examples
    other = Example(first.target, second.prompt, first.seed)
    assert adapter.trunk_key(other) != adapter.trunk_key(first)
    assert adapter.trunk_key(Example(first.target, first.prompt, 99, place=2)) == adapter.trunk_key(first)
