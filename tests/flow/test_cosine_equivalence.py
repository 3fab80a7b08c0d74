"""Two forms of the cosine schedule on a linear head: a wrapped flow map, and a law of times with a weight."""

import math

import numpy as np
import torch

from calm_ft.flow.flow_matching import flow_matching_residual
from calm_ft.flow.heads import bind_condition
from calm_ft.flow.interpolant import CosineInterpolant
from calm_ft.flow.lsd import lsd_residual
from calm_ft.flow.stop_gradient import FreezeTargetParameters
from tests.flow.cosine_wrapper import cosine_flow_matching_residual, cosine_lsd_residual
from tests.flow.tiny_head import rows, time_pairs, tiny_head

COSINE = CosineInterpolant()
NUM_ROWS = 64


def head_gradients(loss: torch.Tensor, head: torch.nn.Module) -> torch.Tensor:
    gradients = torch.autograd.grad(loss, list(head.parameters()), allow_unused=True)
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def test_flow_matching_and_its_gradient_agree_in_both_forms() -> None:
    head, (cond, x0, x1), (_, tau) = tiny_head(), rows(NUM_ROWS), time_pairs(NUM_ROWS)
    velocity_fn = bind_condition(head, cond)
    wrapped = cosine_flow_matching_residual(velocity_fn, x0, x1, tau)
    weighted = COSINE.residual_weight(tau).squeeze(-1) * flow_matching_residual(
        velocity_fn, x0, x1, COSINE.head_time(tau)
    )
    torch.testing.assert_close(weighted, wrapped, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        head_gradients(weighted.mean(), head), head_gradients(wrapped.mean(), head), rtol=1e-10, atol=1e-10
    )


def test_lsd_and_its_gradient_agree_in_both_forms() -> None:
    head, (cond, x0, x1), (sigma, tau) = tiny_head(), rows(NUM_ROWS), time_pairs(NUM_ROWS)
    velocity_fn = bind_condition(head, cond)
    target = FreezeTargetParameters().target(head)

    def target_fn(s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return target(cond, s, t, x)

    wrapped = cosine_lsd_residual(velocity_fn, target_fn, x0, x1, sigma, tau)
    weighted = COSINE.residual_weight(tau).squeeze(-1) * lsd_residual(
        velocity_fn, target_fn, x0, x1, COSINE.head_time(sigma), COSINE.head_time(tau)
    )
    assert wrapped.mean() > 1e-3
    torch.testing.assert_close(weighted, wrapped, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        head_gradients(weighted.mean(), head), head_gradients(wrapped.mean(), head), rtol=1e-10, atol=1e-10
    )


def test_uniform_cosine_flow_matching_is_half_pi_times_uniform_linear_flow_matching() -> None:
    head, (cond, x0, x1) = tiny_head(), rows(4)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    velocity_fn = bind_condition(head, cond)

    def integrate(integrand) -> torch.Tensor:
        total = torch.zeros(4, dtype=torch.float64)
        for node, weight in zip(nodes, weights, strict=True):
            total += 0.5 * weight * integrand(torch.full((4, 1), 0.5 * (node + 1), dtype=torch.float64))
        return total

    with torch.no_grad():
        cosine = integrate(lambda tau: cosine_flow_matching_residual(velocity_fn, x0, x1, tau))
        linear = integrate(lambda t: flow_matching_residual(velocity_fn, x0, x1, t))
    torch.testing.assert_close(cosine, math.pi / 2 * linear, rtol=1e-9, atol=0)
