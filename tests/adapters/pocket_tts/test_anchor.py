"""An anchor: nothing at the start, a pull back to the base afterwards, on the rows that were asked for."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import FreshPocketTTSAdapter, PocketTTSAdapter
from calm_ft.adapters.pocket_tts.rows import Row, collate_rows
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full, HeadOnly, Strategy
from calm_ft.randomness import make_rng
from tests.adapters import contract
from tests.conftest import NANO, default_objective

REPLAYED = (False, True)


def anchored(weight: float = 1.0, **settings: Any) -> PocketTTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective(), anchor_weight=weight, **settings)


def batch_for(adapter: PocketTTSAdapter):
    rows = []
    for place, replayed in enumerate(REPLAYED):
        rng = make_rng(place, "anchor")
        latents, prompt = (torch.randn(n, adapter.flow_lm.ldim, generator=rng) for n in (11, 7))
        row = Row(str(place), latents, adapter.text.tokens("The dog ran."), prompt, place)
        rows.append(replace(row, is_replayed=replayed))
    return collate_rows(rows, adapter.tts.config.flow_lm.lookup_table.n_bins)


def term(adapter: PocketTTSAdapter, batch) -> Any:
    return adapter.loss(batch, make_rng(0, "loss")).terms["anchor"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [HeadOnly(), Full()])
def test_the_untuned_model_is_at_its_anchor_and_training_without_it_leads_further_away(strategy: Strategy) -> None:
    distances = []
    for weight in (1e-9, 10.0):
        adapter = anchored(weight)
        strategy.apply(adapter, 1e-3)
        batch = batch_for(adapter)
        assert float(term(adapter, batch).sum.detach()) == 0
        contract.fit_batch(adapter, batch, num_steps=20, lr=1e-3)
        distances.append(float(term(adapter, batch).sum.detach()))
    assert 0 < distances[1] < 0.5 * distances[0]


def test_the_distance_is_that_of_the_one_step_maps_at_the_temperature_that_is_played() -> None:
    """By the stock sampler: one step from the same noise, through the tuned and the base head."""
    adapter = anchored()
    batch = batch_for(adapter)
    base = PocketTTSAdapter(str(NANO), default_objective())
    with torch.no_grad():
        for parameter in adapter.flow_lm.flow_net.parameters():
            parameter.mul_(1.05)
    found = term(adapter, batch)
    z = base.hidden(batch).z
    expected = []
    for place, row in enumerate(z):
        x0 = adapter.tts.temp**0.5 * torch.randn(batch.latents.shape[1:], generator=make_rng(_seed(), "anchor", place))
        zero, one = torch.zeros(len(x0), 1), torch.ones(len(x0), 1)
        said = [each.flow_lm.flow_net(row, zero, one, x0) for each in (adapter, base)]
        expected.append((said[0] - said[1]).square().mean(dim=1)[:-1])
    torch.testing.assert_close(found.sum, torch.cat(expected).sum())
    assert found.count == 22


def _seed() -> int:
    return int(torch.randint(2**62, (), generator=make_rng(0, "loss")))


def test_replayed_rows_alone_are_held_where_that_is_asked_for() -> None:
    adapter = anchored(anchor_rows="replayed")
    batch = batch_for(adapter)
    assert term(adapter, batch).count == 11
    nothing = replace(batch, replayed=torch.tensor([False, False]))
    assert adapter.loss(nothing, make_rng(0, "loss")).total.isfinite()


def test_an_anchor_without_a_base_or_of_unknown_rows_is_refused() -> None:
    with pytest.raises(UserError, match="a new model has none"):
        FreshPocketTTSAdapter(seed=0, model=str(NANO), objective=default_objective(), anchor_weight=1.0)
    with pytest.raises(UserError, match="take all or replayed"):
        anchored(anchor_rows="some")
