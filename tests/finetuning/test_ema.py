"""The average against its closed form; `applied` leaves nothing behind."""

import pytest
import torch
from torch import nn

from calm_ft.finetuning.ema import ExponentialMovingAverage


def test_the_average_is_the_closed_form_with_its_warm_up() -> None:
    module = nn.Linear(1, 1, bias=False).double()
    ema = ExponentialMovingAverage(module, decay=0.5)
    values = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = [1.0]  # of the first value and of each later one
    expected = [module.weight.item()]
    for n, value in enumerate(values.tolist()):
        with torch.no_grad():
            module.weight.fill_(value)
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        weights = [weight * decay for weight in weights] + [1 - decay]
        expected.append(value)
    average = sum(weight * value for weight, value in zip(weights, expected, strict=True))
    assert sum(weights) == pytest.approx(1)
    assert float(ema.shadow["weight"]) == pytest.approx(average, rel=1e-12)


def test_without_decay_the_average_is_the_weight() -> None:
    module = nn.Linear(2, 2)
    ema = ExponentialMovingAverage(module, decay=0.0)
    with torch.no_grad():
        module.weight.add_(1)
    ema.update()
    assert torch.equal(ema.shadow["weight"], module.weight)


@pytest.mark.parametrize("fails", [False, True])
def test_applied_shows_the_average_and_restores_the_weights_bit_for_bit(fails: bool) -> None:
    module = nn.Linear(3, 3)
    ema = ExponentialMovingAverage(module, decay=0.9)
    with torch.no_grad():
        module.weight.add_(torch.randn(3, 3))
    raw = module.weight.detach().clone()
    shadow = ema.shadow["weight"].clone()

    def look() -> None:
        with ema.applied():
            assert torch.equal(module.weight, shadow)
            if fails:
                raise RuntimeError("in between")

    if fails:
        with pytest.raises(RuntimeError):
            look()
    else:
        look()
    assert torch.equal(module.weight, raw)
    assert torch.equal(ema.shadow["weight"], shadow)


def test_frozen_parameters_are_not_averaged() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    assert ExponentialMovingAverage(module, 0.9).shadow.keys() == {"weight"}


def test_a_restored_average_goes_on_as_the_first() -> None:
    module = nn.Linear(2, 2)
    first = ExponentialMovingAverage(module, 0.99)
    first.update()
    second = ExponentialMovingAverage(module, 0.99)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        module.weight.add_(1)
    first.update()
    second.update()
    assert torch.equal(first.shadow["weight"], second.shadow["weight"])
    assert first.num_updates == second.num_updates == 2
