"""Gradients of the losses on upstream's head against central differences in float64, along random directions.

For LSD the differences hold fixed what the stop-gradient mode holds fixed: an untouched copy of the head
(frozen target), or the target's values themselves (detached target). The condition is varied together with
the parameters.
"""

import copy
from collections.abc import Callable

import pytest
import torch

from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.heads import bind_condition
from calm_ft.flow.lsd import lsd_residual
from calm_ft.flow.stop_gradient import DetachTarget, FreezeTargetParameters, StopGradient
from tests.flow.tiny_head import rows, time_pairs, tiny_head

NUM_ROWS = 6
STEP = 1e-5


def directional_derivatives(
    loss_fn: Callable[[], torch.Tensor],
    gradient_fn: Callable[[], torch.Tensor],
    variables: list[torch.Tensor],
    seed: int,
) -> tuple[float, float]:
    """Along one direction: the central difference of `loss_fn`, and the derivative of `gradient_fn`."""
    rng = torch.Generator().manual_seed(seed)
    direction = [torch.randn(v.shape, generator=rng, dtype=v.dtype) for v in variables]
    gradients = torch.autograd.grad(gradient_fn(), variables)
    by_autograd = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True))
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for v, d in zip(variables, direction, strict=True):
                v.add_(d, alpha=sign * STEP)
            values.append(loss_fn().item())
            for v, d in zip(variables, direction, strict=True):
                v.sub_(d, alpha=sign * STEP)
    return (values[0] - values[1]) / (2 * STEP), by_autograd


@pytest.mark.parametrize("seed", range(3))
def test_flow_matching_gradient_matches_finite_differences(seed: int) -> None:
    head, (cond, x0, x1), (_, t) = tiny_head(seed=seed), rows(NUM_ROWS), time_pairs(NUM_ROWS)
    cond.requires_grad_()

    def loss() -> torch.Tensor:
        return flow_matching_residual(bind_condition(head, cond), x0, x1, t).mean()

    expected, actual = directional_derivatives(loss, loss, [cond, *head.parameters()], seed)
    assert abs(expected) > 1e-3
    assert actual == pytest.approx(expected, rel=1e-6)


def lsd_loss(head: torch.nn.Module, cond: torch.Tensor, target_fn) -> torch.Tensor:
    _, x0, x1 = rows(NUM_ROWS)
    s, t = time_pairs(NUM_ROWS)
    return lsd_residual(bind_condition(head, cond), target_fn, x0, x1, s, t).mean()


def bound_target(mode: StopGradient, head: torch.nn.Module, cond: torch.Tensor):
    target = mode.target(head)
    return lambda s, t, x: target(cond, s, t, x)


@pytest.mark.parametrize("seed", range(3))
def test_lsd_gradient_with_frozen_target_matches_differences_that_fix_the_targets_parameters(
    seed: int,
) -> None:
    head, (cond, _, _) = tiny_head(seed=seed), rows(NUM_ROWS)
    cond.requires_grad_()
    fixed_target = bind_condition(copy.deepcopy(head), cond.detach().clone())
    expected, actual = directional_derivatives(
        lambda: lsd_loss(head, cond, fixed_target),
        lambda: lsd_loss(head, cond, bound_target(FreezeTargetParameters(), head, cond)),
        [cond, *head.parameters()],
        seed,
    )
    assert abs(expected) > 1e-3
    assert actual == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_lsd_gradient_with_detached_target_matches_differences_that_fix_the_targets_values(seed: int) -> None:
    head, (cond, _, _) = tiny_head(seed=seed), rows(NUM_ROWS)
    cond.requires_grad_()
    _, x0, x1 = rows(NUM_ROWS)
    s, t = time_pairs(NUM_ROWS)
    with torch.no_grad():
        x_s = (1 - s) * x0 + s * x1
        fixed_values = head(cond, t, t, x_s + (t - s) * head(cond, s, t, x_s))
    expected, actual = directional_derivatives(
        lambda: lsd_loss(head, cond, lambda s, t, x: fixed_values),
        lambda: lsd_loss(head, cond, bound_target(DetachTarget(), head, cond)),
        [cond, *head.parameters()],
        seed,
    )
    assert abs(expected) > 1e-3
    assert actual == pytest.approx(expected, rel=1e-6)


def test_the_two_modes_have_the_same_value_and_different_gradients() -> None:
    head, (cond, _, _) = tiny_head(), rows(NUM_ROWS)
    losses = [
        lsd_loss(head, cond, bound_target(mode, head, cond)) for mode in (FreezeTargetParameters(), DetachTarget())
    ]
    frozen, detached = (torch.autograd.grad(loss, head.final_layer.linear.weight)[0] for loss in losses)
    torch.testing.assert_close(losses[0], losses[1])
    assert (frozen - detached).abs().max() > 1e-6
