"""Objectives on upstream's head: what they sum, what they draw, where their gradients go."""

import pytest
import torch
from torch import nn

from calm_ft.errors import UserError
from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.heads import bind_condition
from calm_ft.flow.interpolant import CosineInterpolant, Interpolant, LinearInterpolant
from calm_ft.flow.loss_weighting import LearnedUncertainty, LossWeighting, NoWeighting
from calm_ft.flow.objective import FlowMatching, FlowMatchingWithLSD, Objective
from calm_ft.flow.stop_gradient import FreezeTargetParameters
from calm_ft.flow.time_sampling import LogitNormalTimes, UniformTimes, sorted_pairs
from calm_ft.randomness import make_rng
from tests.flow.cosine_wrapper import cosine_lsd_residual
from tests.flow.tiny_head import COND_DIM, NUM_CHANNELS, rows, tiny_head


def with_lsd(
    interpolant: Interpolant | None = None, weighting: LossWeighting | None = None, lsd_fraction: float = 0.25
) -> FlowMatchingWithLSD:
    return FlowMatchingWithLSD(
        interpolant or CosineInterpolant(),
        LogitNormalTimes(),
        weighting or NoWeighting(),
        FreezeTargetParameters(),
        lsd_fraction=lsd_fraction,
    )


class RowCountingHead(nn.Module):
    """Upstream's head, remembering how many rows each call had on the diagonal and off it."""

    num_time_conds = 2

    def __init__(self) -> None:
        super().__init__()
        self.head = tiny_head(dtype=torch.float32)
        self.num_diagonal_rows: list[int] = []
        self.num_jump_rows: list[int] = []

    def forward(self, cond: torch.Tensor, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        (self.num_diagonal_rows if s is t else self.num_jump_rows).append(x.shape[-2])
        return self.head(cond, s, t, x)


@pytest.mark.parametrize(("num_rows", "num_lsd_rows"), [(1, 1), (2, 1), (8, 2), (400, 100)])
def test_lsd_runs_on_a_quarter_of_the_rows_and_at_least_one(num_rows: int, num_lsd_rows: int) -> None:
    head, (cond, _, x1) = RowCountingHead(), rows(num_rows, torch.float32)
    with_lsd()(head, cond, x1, make_rng(0, "objective"))
    assert head.num_diagonal_rows == [num_rows, num_lsd_rows]
    assert head.num_jump_rows == [num_lsd_rows]


def test_every_row_takes_its_turn_in_lsd() -> None:
    cond, _, x1 = rows(8, torch.float32)
    cond.requires_grad_()
    objective = FlowMatchingWithLSD(
        CosineInterpolant(), LogitNormalTimes(), NoWeighting(), FreezeTargetParameters(), flow_weight=0.0
    )
    turns = torch.zeros(8)
    for step in range(64):
        total = objective(tiny_head(dtype=torch.float32), cond, x1, make_rng(0, "objective", step)).total
        turns += (torch.autograd.grad(total, cond)[0].abs().sum(dim=-1) > 0).float()
    assert turns.sum() == 64 * 2
    assert turns.min() > 5


def test_total_is_three_quarters_flow_and_one_quarter_lsd() -> None:
    cond, _, x1 = rows(16, torch.float32)
    output = with_lsd()(tiny_head(dtype=torch.float32), cond, x1, make_rng(0, "objective"))
    torch.testing.assert_close(output.total, 0.75 * output.parts["flow"] + 0.25 * output.parts["lsd"])
    assert set(output.parts) == {"flow", "lsd", "flow_residual", "lsd_residual"}
    assert not any(part.requires_grad for part in output.parts.values())


@pytest.mark.parametrize("objective", [with_lsd(), FlowMatching(CosineInterpolant(), UniformTimes(), NoWeighting())])
def test_the_same_generator_gives_the_same_loss(objective: Objective) -> None:
    head, (cond, _, x1) = tiny_head(dtype=torch.float32), rows(16, torch.float32)
    first, again, other = (objective(head, cond, x1, make_rng(seed, "objective")).total for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_random_state_is_neither_read_nor_moved() -> None:
    head, (cond, _, x1) = tiny_head(dtype=torch.float32), rows(16, torch.float32)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = with_lsd()(head, cond, x1, make_rng(0, "objective")).total
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(with_lsd()(head, cond, x1, make_rng(0, "objective")).total, first)


@pytest.mark.parametrize("flow_weight", [0.75, 0.0])
def test_gradients_reach_the_head_and_the_condition(flow_weight: float) -> None:
    head, (cond, _, x1) = tiny_head(dtype=torch.float32), rows(16, torch.float32)
    cond.requires_grad_()
    objective = FlowMatchingWithLSD(
        CosineInterpolant(),
        LogitNormalTimes(),
        NoWeighting(),
        FreezeTargetParameters(),
        flow_weight=flow_weight,
        lsd_fraction=1.0,
    )
    objective(head, cond, x1, make_rng(0, "objective")).total.backward()
    assert cond.grad is not None
    assert (cond.grad.abs().sum(dim=-1) > 0).all()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_cosine_training_residual_is_the_linear_one_at_the_heads_own_times() -> None:
    # Same draws, replayed by hand: noise first, then tau, then the change of variables.
    head, (cond, _, x1) = tiny_head(), rows(16)
    objective = FlowMatching(CosineInterpolant(), LogitNormalTimes(), NoWeighting())
    output = objective(head, cond, x1, make_rng(0, "objective"))
    rng = make_rng(0, "objective")
    x0 = torch.randn(x1.shape, generator=rng).double()
    tau = LogitNormalTimes().sample(16, rng).double()
    cosine = CosineInterpolant()
    residual = flow_matching_residual(bind_condition(head, cond), x0, x1, cosine.head_time(tau))
    torch.testing.assert_close(output.parts["flow_residual"], residual.mean())
    torch.testing.assert_close(output.total, (cosine.residual_weight(tau).squeeze(-1) * residual).mean())
    assert output.total.dtype == torch.float64


def test_cosine_lsd_term_is_the_wrapped_flow_maps_own_residual() -> None:
    # Same draws, replayed by hand in the objective's order; here every row is an LSD row.
    head, (cond, _, x1) = tiny_head(), rows(16)
    output = with_lsd(lsd_fraction=1.0)(head, cond, x1, make_rng(0, "objective"))
    rng = make_rng(0, "objective")
    torch.randn(x1.shape, generator=rng)
    LogitNormalTimes().sample(16, rng)
    chosen = torch.randperm(16, generator=rng)
    x0 = torch.randn(x1.shape, generator=rng).double()
    sigma, tau = (time.double() for time in sorted_pairs(LogitNormalTimes(), 16, rng))
    velocity_fn = bind_condition(head, cond[chosen])
    expected = cosine_lsd_residual(velocity_fn, velocity_fn, x0, x1[chosen], sigma, tau).mean()
    torch.testing.assert_close(output.parts["lsd"], expected.detach(), rtol=1e-10, atol=0)


def test_a_learned_weighting_trains_with_the_head() -> None:
    head, (cond, _, x1) = tiny_head(dtype=torch.float32), rows(16, torch.float32)
    objective = with_lsd(weighting=LearnedUncertainty())
    names = [name for name, _ in objective.named_parameters()]
    assert names
    assert all(name.startswith("weighting.net.") for name in names)
    objective(head, cond, x1, make_rng(0, "objective")).total.backward()
    last_bias = list(objective.parameters())[-1]
    assert last_bias.grad is not None
    assert last_bias.grad.abs().max() > 0


def test_autocast_does_not_touch_the_loss_or_its_gradient() -> None:
    head, (cond, _, x1) = tiny_head(dtype=torch.float32), rows(16, torch.float32)
    cond = cond.bfloat16().float()
    objective, results = with_lsd(weighting=LearnedUncertainty()), []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            given = cond.bfloat16() if enabled else cond
            total = objective(head, given, x1, make_rng(0, "objective")).total
        results.append((total, torch.autograd.grad(total, head.final_layer.linear.weight)[0]))
    assert results[1][0].dtype == torch.float32
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_lsd_lowers_its_own_residual_where_flow_matching_alone_does_not() -> None:
    # Constant data: the velocity off the diagonal is only ever trained by LSD.
    def train(objective: Objective) -> float:
        head = tiny_head(dtype=torch.float32)
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
        cond, x1 = torch.zeros(64, COND_DIM), torch.ones(64, NUM_CHANNELS)
        for step in range(150):
            optimizer.zero_grad()
            objective(head, cond, x1, make_rng(0, "objective", step)).total.backward()
            optimizer.step()
        return with_lsd(LinearInterpolant())(head, cond, x1, make_rng(1, "judge")).parts["lsd_residual"].item()

    flow_only = train(FlowMatching(CosineInterpolant(), LogitNormalTimes(), NoWeighting()))
    assert train(with_lsd()) < 0.5 * flow_only


def test_flow_matching_trains_heads_with_one_time_condition() -> None:
    head, (cond, _, x1) = tiny_head(1, torch.float32), rows(16, torch.float32)
    objective = FlowMatching(CosineInterpolant(), LogitNormalTimes(), NoWeighting())
    objective(head, cond, x1, make_rng(0, "objective")).total.backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_a_head_with_too_few_time_conditions_is_refused_in_one_sentence() -> None:
    cond, _, x1 = rows(4, torch.float32)
    with pytest.raises(UserError, match=r"2 time condition.*has 1.*objective=flow_matching"):
        with_lsd()(tiny_head(1, torch.float32), cond, x1, make_rng(0, "objective"))
    with pytest.raises(UserError, match="has 0"):
        FlowMatching(LinearInterpolant(), UniformTimes(), NoWeighting()).check_head(tiny_head(0))


@pytest.mark.parametrize("lsd_fraction", [0.0, -0.1, 1.5])
def test_a_fraction_outside_zero_to_one_is_refused(lsd_fraction: float) -> None:
    with pytest.raises(UserError, match="lsd_fraction"):
        with_lsd(lsd_fraction=lsd_fraction)
