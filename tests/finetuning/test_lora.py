"""LoRA: what is put where, the update by hand, merging and going back, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from calm_ft.finetuning.lora import FAINT_UPDATE, Lora
from calm_ft.finetuning.lora_layers import base_weight, factors, linear_layers, lora_layers
from tests.conftest import NANO, default_objective
from tests.finetuning.lora_parts import ALPHA, BACKBONE, RANK, bits, lora, move, own_bits, same, with_lora

LAYER = "flow_lm.transformer.layers.{}.{}"
LEAVES = ("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2")


def backbone_outputs(adapter: PocketTTSAdapter) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 7, adapter.flow_lm.dim, generator=rng)
    with torch.no_grad():
        return adapter.flow_lm.transformer(inputs, None)


def trained(adapter: PocketTTSAdapter) -> set[str]:
    return {name for name, p in adapter.named_parameters() if p.requires_grad}


def test_exactly_the_named_layers_of_the_named_components_train_and_no_codec(nano_adapter: PocketTTSAdapter) -> None:
    lora().apply(nano_adapter, 1e-3)
    layers = {LAYER.format(index, leaf) for index in range(6) for leaf in LEAVES}
    assert lora_layers(nano_adapter).keys() == layers
    assert trained(nano_adapter) == {f"{layer}.lora_{which}.default.weight" for layer in layers for which in "AB"}


def test_until_the_first_step_the_model_gives_the_same_bits(nano_adapter: PocketTTSAdapter) -> None:
    before, own = backbone_outputs(nano_adapter), own_bits(nano_adapter)
    lora().apply(nano_adapter, 1e-3)
    assert torch.equal(backbone_outputs(nano_adapter), before)
    assert same(own_bits(nano_adapter), own)
    move(nano_adapter)
    assert not torch.allclose(backbone_outputs(nano_adapter), before, atol=1e-2)


def test_a_is_drawn_from_no_global_state_and_leaves_it_as_it_was() -> None:
    drawn = []
    for seed in (1, 2):
        adapter = PocketTTSAdapter(str(NANO), default_objective())
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        lora().apply(adapter, 1e-3)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append({name: bits for name, bits in bits(adapter).items() if ".lora_A." in name})
    assert same(*drawn)
    first, second = (drawn[0][LAYER.format(index, "linear1.lora_A.default.weight")] for index in (0, 1))
    assert not torch.equal(first, second)
    assert first.std().item() == pytest.approx((1 / (3 * first.shape[1])) ** 0.5, rel=0.2)


def test_applied_twice_is_applied_once(nano_adapter: PocketTTSAdapter) -> None:
    strategy = with_lora(nano_adapter)
    before = bits(nano_adapter)
    plans = strategy.apply(nano_adapter, 1e-3)
    assert same(bits(nano_adapter), before)
    assert plans == lora().apply(PocketTTSAdapter(str(NANO), default_objective()), 1e-3)


@pytest.mark.parametrize("settings", [{"rank": 3}, {"targets": {"backbone": ["linear1"]}}])
def test_layers_of_other_settings_are_never_taken_for_ones_own(
    nano_adapter: PocketTTSAdapter, settings: dict[str, Any]
) -> None:
    lora().apply(nano_adapter, 1e-3)
    with pytest.raises(ValueError, match="LoRA layers of other settings"):
        lora(**settings).apply(nano_adapter, 1e-3)


def test_the_plan_counts_the_models_own_parameters_and_those_beside_them(nano_adapter: PocketTTSAdapter) -> None:
    own = {name: sum(p.numel() for p in part.module.parameters()) for name, part in nano_adapter.components().items()}
    plans = lora(lr_factors={"backbone.layers.5": 2.0}).apply(nano_adapter, 1e-3)
    assert {plan.name: plan.num_parameters for plan in plans} == own
    sides = sum(sum(linear.weight.shape) for linear in plain_layers(nano_adapter, 0).values())
    assert {plan.num_trained for plan in plans if plan.lr} == {RANK * sides}
    rates = {plan.name: plan.lr for plan in plans}
    assert (rates["backbone.layers.4"], rates["backbone.layers.5"]) == (1e-3, 2e-3)
    assert rates["backbone.output"] is rates["flow_head"] is rates["codec"] is None


def plain_layers(adapter: PocketTTSAdapter, index: int) -> dict[str, Any]:
    layers = lora_layers(adapter)
    return {leaf: layers[LAYER.format(index, leaf)].get_base_layer() for leaf in LEAVES}


def test_merged_weights_are_the_base_plus_the_update_by_hand(nano_adapter: PocketTTSAdapter) -> None:
    stock = nano_adapter.tts.state_dict().keys()
    strategy = with_lora(nano_adapter)
    expected = {
        f"{name}.weight": base_weight(layer).double() + ALPHA / RANK * (b.double() @ a.double())
        for name, layer in lora_layers(nano_adapter).items()
        for a, b in [factors(layer)]
    }
    with strategy.merged(nano_adapter):
        merged = bits(nano_adapter.tts)
    assert list(merged) == list(stock)
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name].double(), tensor, rtol=0, atol=1e-6)
    untouched = PocketTTSAdapter(str(NANO), default_objective()).tts.state_dict()
    assert all(torch.equal(merged[name], tensor) for name, tensor in untouched.items() if name not in expected)


def test_the_merged_model_gives_what_the_adapted_one_gives(nano_adapter: PocketTTSAdapter) -> None:
    strategy = with_lora(nano_adapter)
    adapted = backbone_outputs(nano_adapter)
    with strategy.merged(nano_adapter):
        assert not lora_layers(nano_adapter)
        torch.testing.assert_close(backbone_outputs(nano_adapter), adapted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_after_merging_all_is_as_it_was_bit_for_bit(nano_adapter: PocketTTSAdapter, fails: bool) -> None:
    own = own_bits(nano_adapter)
    strategy = with_lora(nano_adapter)
    before, parameters, modules = bits(nano_adapter), dict(nano_adapter.named_parameters()), [*nano_adapter.modules()]
    outputs = backbone_outputs(nano_adapter)
    try:
        with strategy.merged(nano_adapter):
            assert not same(own_bits(nano_adapter), own)
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert same(bits(nano_adapter), before)
    assert same(own_bits(nano_adapter), own)
    after = dict(nano_adapter.named_parameters())
    assert all(after[name] is p and after[name].requires_grad == p.requires_grad for name, p in parameters.items())
    assert all(one is other for one, other in zip(nano_adapter.modules(), modules, strict=True))
    assert torch.equal(backbone_outputs(nano_adapter), outputs)


def test_the_update_ratio_is_that_of_the_whole_products(nano_adapter: PocketTTSAdapter) -> None:
    strategy = lora()
    strategy.apply(nano_adapter, 1e-3)
    assert float(strategy.figures(nano_adapter)["lora_update_ratio"]) == 0
    move(nano_adapter)
    updates, weights = 0.0, 0.0
    for layer in lora_layers(nano_adapter).values():
        a, b = (factor.detach().double() for factor in factors(layer))
        updates += float((ALPHA / RANK * b @ a).square().sum())
        weights += float(base_weight(layer).double().square().sum())
    expected = (updates / weights) ** 0.5
    assert float(strategy.figures(nano_adapter)["lora_update_ratio"]) == pytest.approx(expected, rel=1e-5)


def test_a_faint_update_is_said_with_what_to_do_and_a_clear_one_is_not(nano_adapter: PocketTTSAdapter) -> None:
    strategy = with_lora(nano_adapter)
    ratio = float(strategy.figures(nano_adapter)["lora_update_ratio"])
    for share, num_warnings in ((1.1, 0), (0.9, 1)):
        for layer in lora_layers(nano_adapter).values():
            factors(layer)[1].data.mul_(share * FAINT_UPDATE / ratio)
        ratio = float(strategy.figures(nano_adapter)["lora_update_ratio"])
        said = strategy.warnings(nano_adapter)
        assert len(said) == num_warnings
    assert "raise optimizer.lr" in said[0]


@pytest.mark.parametrize(
    ("targets", "parts"),
    [
        ({"eos_head": "all"}, {"flow_lm.out_eos"}),
        ({"eos_head": ["out_eos"], "backbone.layers.5": ["linear1"]}, {"flow_lm.out_eos", LAYER.format(5, "linear1")}),
        (
            {"backbone.layers.5": ["linear1"], "backbone.layers": ["linear2"]},
            {LAYER.format(5, "linear1"), *(LAYER.format(index, "linear2") for index in range(6))},
        ),
        ({"backbone": {"layers": {"0": ["linear1"]}}}, {LAYER.format(0, "linear1")}),
        ({"backbone": None, "backbone.layers.0": "all"}, {LAYER.format(0, leaf) for leaf in LEAVES}),
    ],
)
def test_targets_add_up_and_take_in_components_that_are_one_layer(
    nano_adapter: PocketTTSAdapter, targets: dict[str, Any], parts: set[str]
) -> None:
    strategy = with_lora(nano_adapter, targets=targets)
    assert lora_layers(nano_adapter).keys() == parts
    with strategy.merged(nano_adapter):
        assert parts <= linear_layers(nano_adapter).keys()
    assert lora_layers(nano_adapter).keys() == parts


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            {"t3": "all"},
            r"targets.t3 names no component that can train here; there are: latent_input, backbone.layers.N",
        ),
        ({"codec": ["in_proj"]}, r"targets.codec names no component that can train"),
        ({"backbone": ["q_proj", "linear1"]}, r"names q_proj, but the linear layers there are: in_proj, linear1, lin"),
        ({"backbone.output": "all"}, r"backbone.output names all, but the linear layers there are: none"),
    ],
)
def test_targets_that_match_nothing_are_refused_by_what_there_is(
    nano_adapter: PocketTTSAdapter, targets: dict[str, Any], said: str
) -> None:
    before = bits(nano_adapter)
    with pytest.raises(UserError, match=said):
        lora(targets=targets).apply(nano_adapter, 1e-3)
    assert same(bits(nano_adapter), before)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "strategy.rank=0"),
        ({"rank": 2.5}, "strategy.rank=2.5"),
        ({"rank": True}, "strategy.rank=True"),
        ({"alpha": 0}, "strategy.alpha=0"),
        ({"alpha": "large"}, "strategy.alpha=large"),
        ({"alpha": float("inf")}, "strategy.alpha=inf"),
        ({"dropout": 1}, "strategy.dropout=1"),
        ({"dropout": -0.1}, "strategy.dropout=-0.1"),
        ({"targets": {}}, "strategy.targets is empty"),
        ({"targets": {"backbone": None}}, "strategy.targets is empty"),
        ({"targets": ["in_proj"]}, "must name layers by component"),
        ({"targets": {"backbone": "in_proj"}}, "strategy.targets.backbone=in_proj must be a list"),
        ({"targets": {"backbone": []}}, "must be a list"),
        ({"targets": {"backbone": [1]}}, "must be a list"),
        ({"lr_factors": {"backbone": 0}}, "must be a number more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Lora(**{"rank": 4, "alpha": 8, "targets": BACKBONE, **settings})
