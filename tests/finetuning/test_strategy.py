"""What each strategy trains, told by parameters, and what it refuses."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from calm_ft.adapters.base import Component, Role
from calm_ft.adapters.pocket_tts.adapter import WEIGHTING_LR, PocketTTSAdapter
from calm_ft.errors import UserError
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Full, HeadOnly, LastNLayers, Strategy
from calm_ft.flow.loss_weighting import LearnedUncertainty
from calm_ft.randomness import make_rng
from calm_ft.training.optimizers import AdamWFactory, ConstantSchedule
from tests.adapters.chatterbox.conftest import make_adapter

HEADS = ("flow_lm.flow_net.", "flow_lm.out_eos.")


class Nothing(Strategy):
    def select(self, components: Mapping[str, Component]) -> set[str]:
        return set()


def trained(adapter: PocketTTSAdapter) -> set[str]:
    return {name for name, p in adapter.named_parameters() if p.requires_grad}


def test_head_only_trains_exactly_the_flow_head_and_the_eos_head(nano_adapter: PocketTTSAdapter) -> None:
    HeadOnly().apply(nano_adapter, 1e-3)
    assert trained(nano_adapter) == {name for name, _ in nano_adapter.named_parameters() if name.startswith(HEADS)}


def test_full_trains_everything_but_the_codec(nano_adapter: PocketTTSAdapter) -> None:
    Full().apply(nano_adapter, 1e-3)
    expected = {name for name, _ in nano_adapter.named_parameters() if not name.startswith("mimi.")}
    assert trained(nano_adapter) == expected


def test_last_n_layers_trains_these_layers_the_output_norm_and_the_heads(nano_adapter: PocketTTSAdapter) -> None:
    LastNLayers(2).apply(nano_adapter, 1e-3)
    parts = (*HEADS, "flow_lm.out_norm.", "flow_lm.transformer.layers.4.", "flow_lm.transformer.layers.5.")
    assert trained(nano_adapter) == {name for name, _ in nano_adapter.named_parameters() if name.startswith(parts)}


@pytest.mark.parametrize("strategy", [HeadOnly(), LastNLayers(2), Full(), Lora(2, 4.0, {"backbone": ["in_proj"]})])
def test_a_learned_weighting_trains_under_every_strategy_at_its_own_rate(
    nano_adapter: PocketTTSAdapter, strategy: Strategy
) -> None:
    """Under LoRA it never trained; at a fine-tuning's rate it hardly moved."""
    nano_adapter.objective.weighting = LearnedUncertainty()
    (plan,) = [plan for plan in strategy.apply(nano_adapter, 2e-5) if plan.name == "objective"]
    assert plan.lr == WEIGHTING_LR
    assert plan.num_trained == sum(p.numel() for p in nano_adapter.objective.parameters())
    components = strategy.trained_components(nano_adapter)
    optimizer = AdamWFactory(lr=2e-5, schedule=ConstantSchedule(num_warmup_steps=0)).optimizer(components)
    rates = {group["component"]: group["lr"] for group in optimizer.param_groups}
    assert rates.pop("objective") == WEIGHTING_LR
    assert set(rates.values()) == {2e-5}


def test_the_weightings_own_rate_reaches_its_optimum_in_a_short_run() -> None:
    """exp(w) is to be the mean residual, which here is 35 where it is largest (Kendall et al., arXiv 1705.07115)."""
    torch.manual_seed(0)  # a weighting begins at random
    weighting, rng = LearnedUncertainty(), make_rng(0, "weighting")
    optimizer = torch.optim.AdamW(weighting.parameters(), lr=WEIGHTING_LR)
    for _ in range(1000):
        s, t = torch.rand(2, 256, 1, generator=rng).sort(dim=0).values
        residual = (1 + 34 * t.squeeze(1)) * torch.rand(256, generator=rng) * 2
        optimizer.zero_grad()
        weighting(residual, s, t).mean().backward()
        optimizer.step()
    times = torch.tensor([[0.1], [0.5], [0.95]])
    found = weighting.log_scale(torch.zeros_like(times), times).exp()
    torch.testing.assert_close(found, 1 + 34 * times.squeeze(1), rtol=0.15, atol=0.3)


def stack(name: str, num_layers: int) -> dict[str, Component]:
    """A stack whose names say nothing of roles, with an output norm and a head."""
    layers = {f"{name}/{index}": Component(nn.Linear(1, 1), "layer", name, index) for index in range(num_layers)}
    ends = {f"{name}/z": Component(nn.Identity(), "output_norm", name), f"{name}/y": Component(nn.Identity(), "head")}
    return {**dict(reversed(layers.items())), **ends, f"{name}/x": Component(nn.Identity())}


def test_layers_are_counted_as_numbers_whatever_their_names_and_order() -> None:
    assert LastNLayers(3).select(stack("a", 12)) == {"a/9", "a/10", "a/11", "a/z", "a/y"}


def test_of_two_stacks_each_trains_its_last_layers() -> None:
    both = {**stack("a", 12), **stack("b", 4)}
    assert LastNLayers(2).select(both) == {"a/10", "a/11", "a/z", "a/y", "b/2", "b/3", "b/z", "b/y"}
    with pytest.raises(UserError, match="num_layers=5, but the b of this model has 4 layers"):
        LastNLayers(5).select(both)


def test_of_chatterbox_the_heads_and_the_last_layers_of_t3_are_found() -> None:
    heads, last = {"t3.text_head", "t3.speech_head"}, {"t3.backbone.layers.2", "t3.backbone.output"}
    adapter = make_adapter()
    assert HeadOnly().selected(adapter) == heads
    assert LastNLayers(1).selected(adapter) == heads | last


def test_a_model_without_layers_that_the_loss_reaches_is_refused() -> None:
    with pytest.raises(UserError, match="finds no stack of layers"):
        LastNLayers(1).select({"head": Component(nn.Identity(), "head")})


@pytest.mark.parametrize(("role", "place"), [("layer", ("a", None)), ("layer", (None, 0)), ("head", ("a", 0))])
def test_a_layer_and_nothing_else_has_a_place_in_a_stack(role: Role, place: tuple[str | None, int | None]) -> None:
    with pytest.raises(ValueError, match="index within a stack"):
        Component(nn.Identity(), role, *place)


def test_more_layers_than_the_backbone_has_are_refused(nano_adapter: PocketTTSAdapter) -> None:
    LastNLayers(6).apply(nano_adapter, 1e-3)
    with pytest.raises(UserError, match=r"num_layers=7, but the backbone of this model has 6 layers"):
        LastNLayers(7).apply(nano_adapter, 1e-3)


@pytest.mark.parametrize("num_layers", [0, -1, 1.5, True])
def test_less_than_one_layer_is_refused(num_layers: int) -> None:
    with pytest.raises(UserError, match="must be an integer of at least 1"):
        LastNLayers(num_layers)


def test_each_component_has_the_rate_of_the_longest_name_that_fits(nano_adapter: PocketTTSAdapter) -> None:
    factors = {"backbone": 0.5, "backbone.layers.5": 0.1, "eos_head": 2.0}
    plans = {plan.name: plan.lr for plan in LastNLayers(2, factors).apply(nano_adapter, 1.0)}
    assert plans["backbone.layers.4"] == plans["backbone.output"] == 0.5
    assert (plans["backbone.layers.5"], plans["eos_head"], plans["flow_head"]) == (0.1, 2.0, 1.0)
    assert plans["backbone.layers.0"] is None


@pytest.mark.parametrize("name", ["backbone", "text_embedding", "flow"])
def test_a_rate_for_what_does_not_train_is_refused(nano_adapter: PocketTTSAdapter, name: str) -> None:
    with pytest.raises(UserError, match=f"lr_factors.{name} sets a rate for what does not train"):
        HeadOnly({name: 0.5}).apply(nano_adapter, 1.0)


@pytest.mark.parametrize("factor", [0, -1, "half"])
def test_a_factor_that_is_no_positive_number_is_refused(factor: float) -> None:
    with pytest.raises(UserError, match="must be a number more than 0"):
        HeadOnly({"flow_head": factor})


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
    with pytest.raises(UserError, match="selects none of the components text_embedding"):
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
