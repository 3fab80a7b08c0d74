"""The learned weighting starts neutral and then really depends on the times."""

import torch
from torch import nn

from calm_ft.flow.loss_weighting import LearnedUncertainty, NoWeighting

NUM_ROWS = 1024


def log_residual_scale(s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The truth to be found: residuals grow with the end time and shrink with the length of the jump."""
    return (3 * t - 2 * (t - s)).squeeze(-1)


def train_on_varying_scale(weight_fn, parameters: list[nn.Parameter], num_steps: int) -> None:
    """Minimise exp(-w) r + w for residuals r whose mean is exp(log_residual_scale)."""
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(num_steps):
        times = torch.rand(NUM_ROWS, 2, generator=rng).sort(dim=-1).values
        s, t = times[:, :1], times[:, 1:]
        chi_square = torch.randn(NUM_ROWS, 8, generator=rng).square().mean(dim=-1)
        residual = log_residual_scale(s, t).exp() * chi_square
        w = weight_fn(s, t)
        optimizer.zero_grad()
        (torch.exp(-w) * residual + w).mean().backward()
        optimizer.step()


def error_of(weight_fn) -> float:
    """Root mean square error of w(s, t) against the truth."""
    times = torch.rand(4096, 2, generator=torch.Generator().manual_seed(1)).sort(dim=-1).values
    s, t = times[:, :1], times[:, 1:]
    with torch.no_grad():
        return (weight_fn(s, t) - log_residual_scale(s, t)).square().mean().sqrt().item()


def test_weighting_is_neutral_at_the_start() -> None:
    residual, (s, t) = torch.rand(16), torch.rand(2, 16, 1)
    torch.testing.assert_close(LearnedUncertainty()(residual, s, t), residual)


def test_no_weighting_is_the_identity() -> None:
    residual, (s, t) = torch.rand(16), torch.rand(2, 16, 1)
    assert torch.equal(NoWeighting()(residual, s, t), residual)


def test_learned_weighting_finds_a_residual_scale_that_varies_with_both_times() -> None:
    torch.manual_seed(0)
    weighting = LearnedUncertainty()
    before = [parameter.detach().clone() for parameter in weighting.parameters()]
    train_on_varying_scale(weighting.log_scale, list(weighting.parameters()), num_steps=300)
    assert error_of(weighting.log_scale) < 0.15
    for old, new in zip(before, weighting.parameters(), strict=True):
        assert not torch.equal(old, new)


def test_an_all_zero_net_with_relu_stays_one_number() -> None:
    net = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)

    def log_scale(s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return net(torch.cat([s, t], dim=-1)).squeeze(-1)

    train_on_varying_scale(log_scale, list(net.parameters()), num_steps=300)
    moved = [name for name, parameter in net.named_parameters() if parameter.abs().max() > 0]
    assert moved == ["4.bias"]
    assert error_of(log_scale) > 0.5
