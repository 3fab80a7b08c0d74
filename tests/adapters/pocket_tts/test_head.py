"""The faster head against upstream's own: values, derivative in time and all gradients, in float64."""

import copy
from typing import Any

import pytest
import torch
from pocket_tts.modules.mlp import SimpleMLPAdaLN
from torch import Tensor, nn

from calm_ft.adapters.pocket_tts.head import DifferentiatedFrameHead, FrameHead, frame_head
from calm_ft.adapters.pocket_tts.rows import head_rows
from calm_ft.finetuning.lora_layers import inject
from calm_ft.flow.heads import bind_condition
from calm_ft.flow.lsd import transport
from tests.conftest import default_objective

NUM_FRAMES, NUM_DRAWS, COND, CHANNELS = 5, 3, 12, 4
EXACT: Any = dict(rtol=1e-9, atol=1e-11)


@pytest.fixture(params=[1, 2], ids=["one time", "two times"])
def any_head(request) -> SimpleMLPAdaLN:
    return random_head(request.param)


def random_head(num_times: int = 2) -> SimpleMLPAdaLN:
    torch.manual_seed(num_times)
    net = SimpleMLPAdaLN(CHANNELS, 16, CHANNELS, COND, num_res_blocks=2, num_time_conds=num_times).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return net


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Conditions of the frames [F, D], those of the rows [N, D], s, t and x of the rows."""
    rng = torch.Generator().manual_seed(3)
    cond = torch.randn(NUM_FRAMES, COND, generator=rng, dtype=torch.float64)
    num_rows = NUM_FRAMES * NUM_DRAWS
    times = torch.rand(num_rows, 2, generator=rng, dtype=torch.float64).sort(dim=1).values
    x = torch.randn(num_rows, CHANNELS, generator=rng, dtype=torch.float64)
    return cond, cond.repeat(NUM_DRAWS, 1), times[:, :1], times[:, 1:], x


def gradients(net: nn.Module, cond: Tensor, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, [cond, *parameters])
    return dict(zip(["cond", *names], found, strict=True))


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.allclose(second[name], tensor, **EXACT), name


def test_values_and_gradients_are_upstreams(any_head):
    cond, _, s, t, x = inputs()
    times = (s, t)[: any_head.num_time_conds]
    cond.requires_grad_(True)
    expected = any_head(cond.repeat(NUM_DRAWS, 1), *times, x)
    found = frame_head(any_head)(any_head.cond_embed(cond).repeat(NUM_DRAWS, 1), *times, x)
    torch.testing.assert_close(found, expected, **EXACT)
    assert_same(*(gradients(any_head, cond, each.sin().sum()) for each in (expected, found)))


def test_the_derivative_in_time_and_its_gradients_are_those_of_forward_mode_on_upstreams_head():
    net = random_head()
    cond, _, s, t, x = inputs()
    cond.requires_grad_(True)
    x.requires_grad_(True)
    expected = transport(bind_condition(net, cond.repeat(NUM_DRAWS, 1)), s, t, x)
    head = frame_head(net)
    assert isinstance(head, DifferentiatedFrameHead)
    found = transport(bind_condition(head, net.cond_embed(cond).repeat(NUM_DRAWS, 1)), s, t, x)
    torch.testing.assert_close(found.position, expected.position, **EXACT)
    torch.testing.assert_close(found.time_derivative, expected.time_derivative, **EXACT)
    losses = [(each.position.sin() + each.time_derivative.cos()).sum() for each in (expected, found)]
    (expected_x,), (found_x,) = (torch.autograd.grad(loss, [x], retain_graph=True) for loss in losses)
    torch.testing.assert_close(found_x, expected_x, **EXACT)
    assert_same(*(gradients(net, cond, loss) for loss in losses))


def test_the_whole_objective_has_the_same_loss_and_gradients():
    net, objective = random_head(), default_objective()
    cond, rows, _, _, x1 = inputs()
    draws = objective.draw(len(rows), CHANNELS, torch.Generator().manual_seed(1))
    cond.requires_grad_(True)
    expected = objective.evaluate(net, cond.repeat(NUM_DRAWS, 1), x1, draws)
    found = objective.evaluate(frame_head(net), net.cond_embed(cond).repeat(NUM_DRAWS, 1), x1, draws)
    torch.testing.assert_close(found.total, expected.total, **EXACT)
    assert_same(*(gradients(net, cond, each.total) for each in (expected, found)))


def test_a_head_with_lora_layers_is_differentiated_in_forward_mode():
    net = random_head()
    with_lora = copy.deepcopy(net)
    inject(with_lora, ["res_blocks.0.mlp.0", "time_embed.1.mlp.0"], rank=2, alpha=4, dropout=0.0)
    _, rows, s, t, x = inputs()
    head = frame_head(with_lora)
    assert type(head) is FrameHead
    expected = transport(bind_condition(net, rows), s, t, x)
    found = transport(bind_condition(head, with_lora.cond_embed(rows)), s, t, x)
    torch.testing.assert_close(found.time_derivative, expected.time_derivative, rtol=1e-6, atol=1e-7)


def test_products_of_bfloat16_change_the_loss_and_its_gradient_by_less_than_another_draw_does(
    nano_adapter, three_examples
):
    net, objective = nano_adapter.flow_lm.flow_net, nano_adapter.objective
    hidden = nano_adapter.hidden(nano_adapter.collate(three_examples(nano_adapter)))
    exact_net = copy.deepcopy(net).double()
    found = {}
    for name, head, dtype, seed in (
        ("exact", frame_head(exact_net), torch.float64, 0),
        ("bfloat16", frame_head(net, torch.bfloat16), torch.float32, 0),
        ("another draw", frame_head(exact_net), torch.float64, 1),
    ):
        cond, x1, draws = head_rows(objective, net, hidden, 4, seed)
        output = objective.compute(head, cond.to(dtype), x1.to(dtype), draws)
        own = exact_net if dtype is torch.float64 else net
        parameters = [p for name, p in own.named_parameters() if not name.startswith("cond_embed")]
        gradient = torch.cat([each.flatten() for each in torch.autograd.grad(output.total, parameters)]).double()
        residuals = {term: float(each.residual_sum / each.num_rows) for term, each in output.terms.items()}
        found[name] = (residuals, gradient)
    (exact, gradient), (rounded, rounded_gradient), (_, other_gradient) = found.values()
    assert rounded["flow"] == pytest.approx(exact["flow"], rel=2e-3)
    assert rounded["lsd"] == pytest.approx(exact["lsd"], rel=3e-2)
    error, difference = (rounded_gradient - gradient).norm(), (other_gradient - gradient).norm()
    assert error < 0.1 * difference
    assert error < 0.03 * gradient.norm()
