"""What each strategy trains, told by parameters, and what it refuses."""

import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full, HeadOnly, Strategy

HEADS = ("flow_lm.flow_net.", "flow_lm.out_eos.")


class Nothing(Strategy):
    def selects(self, component: str) -> bool:
        return False


def trained(adapter: PocketTTSAdapter) -> set[str]:
    return {name for name, p in adapter.named_parameters() if p.requires_grad}


def test_head_only_trains_exactly_the_flow_head_and_the_eos_head(nano_adapter: PocketTTSAdapter) -> None:
    HeadOnly().apply(nano_adapter, 1e-3)
    assert trained(nano_adapter) == {name for name, _ in nano_adapter.named_parameters() if name.startswith(HEADS)}


def test_full_trains_everything_but_the_codec(nano_adapter: PocketTTSAdapter) -> None:
    Full().apply(nano_adapter, 1e-3)
    expected = {name for name, _ in nano_adapter.named_parameters() if not name.startswith("mimi.")}
    assert trained(nano_adapter) == expected


def test_frozen_parts_are_in_eval_mode(nano_adapter: PocketTTSAdapter) -> None:
    nano_adapter.train()
    HeadOnly().apply(nano_adapter, 1e-3)
    training = {name for name, module in nano_adapter.named_modules() if module.training}
    heads = ("flow_lm.flow_net", "flow_lm.out_eos")
    assert set(heads) <= training
    assert all(name.startswith(heads) for name in training)


def test_the_plan_counts_every_parameter_once(nano_adapter: PocketTTSAdapter) -> None:
    plans = HeadOnly().apply(nano_adapter, 1e-3)
    assert sum(plan.num_parameters for plan in plans) == sum(p.numel() for p in nano_adapter.parameters())
    assert {plan.name for plan in plans if plan.lr == 1e-3} == {"flow_head", "eos_head"}


def test_a_strategy_that_selects_nothing_is_refused(nano_adapter: PocketTTSAdapter) -> None:
    with pytest.raises(UserError, match="selects none of the components codec"):
        Nothing().apply(nano_adapter, 1e-3)


def test_a_checkpoint_holds_what_trains_and_no_more(nano_adapter: PocketTTSAdapter) -> None:
    strategy = HeadOnly()
    strategy.apply(nano_adapter, 1e-3)
    assert strategy.trainable_state(nano_adapter).keys() == trained(nano_adapter)


def test_state_goes_back_where_it_came_from(nano_adapter: PocketTTSAdapter) -> None:
    strategy = HeadOnly()
    strategy.apply(nano_adapter, 1e-3)
    state = {name: torch.randn_like(tensor) for name, tensor in strategy.trainable_state(nano_adapter).items()}
    strategy.load_state(nano_adapter, state)
    own = dict(nano_adapter.named_parameters())
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("name", ["flow_lm.out_eos.weight", "flow_lm.unheard_of"])
def test_the_checkpoint_of_another_model_is_refused_and_changes_nothing(
    nano_adapter: PocketTTSAdapter, name: str
) -> None:
    strategy = HeadOnly()
    strategy.apply(nano_adapter, 1e-3)
    bias = nano_adapter.flow_lm.out_eos.bias.detach().clone()
    with pytest.raises(UserError, match=name):
        strategy.load_state(nano_adapter, {"flow_lm.out_eos.bias": bias + 1, name: torch.zeros(2, 3)})
    assert torch.equal(nano_adapter.flow_lm.out_eos.bias, bias)
