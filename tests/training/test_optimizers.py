"""The schedule against its closed form, and what is decayed."""

import math

import pytest
import torch
from torch import nn

from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import TrainedComponent
from calm_ft.training.optimizers import AdamWFactory, ConstantSchedule, CosineSchedule, split_by_decay

LR, NUM_STEPS, NUM_WARMUP_STEPS, FINAL = 0.1, 40, 8, 0.2


def cosine(**changes: float) -> CosineSchedule:
    return CosineSchedule(**{"num_warmup_steps": NUM_WARMUP_STEPS, "final_lr_fraction": FINAL, **changes})  # type: ignore[arg-type]


def factory(**changes: float) -> AdamWFactory:
    settings = {"lr": LR, "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.99, "schedule": cosine()}
    return AdamWFactory(**{**settings, **changes})  # type: ignore[arg-type]


def whole(module: nn.Module) -> list[TrainedComponent]:
    return [TrainedComponent("all", module, 1.0)]


def closed_form(step: int) -> float:
    if step < NUM_WARMUP_STEPS:
        return LR * (step + 1) / NUM_WARMUP_STEPS
    angle = math.pi * (step - NUM_WARMUP_STEPS) / (NUM_STEPS - NUM_WARMUP_STEPS)
    return LR * (FINAL + (1 - FINAL) * math.cos(angle / 2) ** 2)


def test_the_rates_of_a_run_are_those_of_the_closed_form() -> None:
    optimizer, schedule = factory().build(whole(nn.Linear(2, 2)), NUM_STEPS)
    rates = []
    for _ in range(NUM_STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([closed_form(step) for step in range(NUM_STEPS)])
    assert rates[NUM_WARMUP_STEPS - 1] == rates[NUM_WARMUP_STEPS] == LR
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR * FINAL, rel=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 9, 15])
def test_a_run_shorter_than_its_warm_up_reaches_the_whole_rate(num_steps: int) -> None:
    assert max(cosine().lr_fraction(step, num_steps) for step in range(num_steps)) == 1
    assert cosine().lr_fraction(num_steps, num_steps) == pytest.approx(FINAL)


def test_matrices_are_decayed_and_biases_norms_and_embeddings_are_not() -> None:
    linear, norm, table, frozen = nn.Linear(2, 2), nn.LayerNorm(2), nn.Embedding(3, 2), nn.Linear(2, 2)
    frozen.requires_grad_(False)
    decayed, undecayed = split_by_decay(nn.ModuleList([linear, norm, table, frozen]))
    assert [id(p) for p in decayed] == [id(linear.weight)]
    assert {id(p) for p in undecayed} == {id(p) for p in (linear.bias, norm.weight, norm.bias, table.weight)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -1e-3),
        ("lr", 0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", "fast"),
        ("lr", None),
        ("weight_decay", -0.1),
        ("beta1", 1.0),
        ("beta2", -0.1),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"optimizer.{name}"):
        factory(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("num_warmup_steps", -1), ("num_warmup_steps", 1.5), ("final_lr_fraction", 1.1)]
)
def test_a_schedules_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"optimizer.schedule.{name}"):
        cosine(**{name: value})


def test_a_constant_schedule_stays_at_the_whole_rate_after_its_warm_up() -> None:
    schedule = ConstantSchedule(num_warmup_steps=4)
    for num_steps in (20, 5, 3):  # its length changes nothing of what a run did
        assert [schedule.lr_fraction(step, num_steps) for step in range(21)] == [0.25, 0.5, 0.75, *[1.0] * 18]


def test_every_component_moves_at_its_own_rate_through_the_whole_schedule() -> None:
    parts = [TrainedComponent("slow", nn.Linear(2, 2), 0.1), TrainedComponent("fast", nn.Linear(2, 2), 1.0)]
    optimizer, schedule = factory().build(parts, NUM_STEPS)
    for step in range(NUM_STEPS):
        rates = {group["component"]: group["lr"] for group in optimizer.param_groups}
        assert rates == {"slow": pytest.approx(0.1 * closed_form(step)), "fast": pytest.approx(closed_form(step))}
        optimizer.step()
        schedule.step()


def test_a_learned_entry_with_leading_axes_is_not_decayed_and_the_table_keeps_unseen_rows() -> None:
    entry, table = nn.Parameter(torch.ones(1, 1, 4)), nn.Embedding(6, 4)
    parts = nn.ModuleList([nn.ParameterDict({"bos": entry}), table])
    optimizer, _ = factory(weight_decay=0.5).build(whole(parts), NUM_STEPS)
    before = table.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        (table(torch.tensor([1, 2])).sum() + 0 * entry.sum()).backward()
        optimizer.step()
    assert torch.equal(entry, torch.ones(1, 1, 4))
    assert torch.equal(table.weight[[0, 3, 4, 5]], before[[0, 3, 4, 5]])
    assert not torch.equal(table.weight[[1, 2]], before[[1, 2]])


def test_the_built_optimizer_moves_what_trains() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    optimizer, _ = factory().build(whole(module), NUM_STEPS)
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(module.weight, before)
