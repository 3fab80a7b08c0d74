"""A FlowLM from scratch: nothing of the base is left in it, and the data's statistics are exact."""

import pytest
import torch

from calm_ft.adapters.base import FitsStatistics
from calm_ft.adapters.pocket_tts.adapter import FreshPocketTTSAdapter
from calm_ft.adapters.pocket_tts.fresh import initialize_flow_lm, latent_statistics
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full
from calm_ft.randomness import make_rng
from tests.conftest import NANO, default_objective


@pytest.fixture
def fresh_adapter() -> FreshPocketTTSAdapter:
    return FreshPocketTTSAdapter(0, model=str(NANO), objective=default_objective())


def clips(*lengths: int, num_channels: int = 4) -> list[dict[str, torch.Tensor]]:
    rng = make_rng(0, "clips")
    scale, offset = torch.tensor([1e-3, 1.0, 30.0, 5.0]), torch.tensor([100.0, 0.0, -4.0, 1e4])
    return [{"latents": offset + scale * torch.randn(n, num_channels, generator=rng)} for n in lengths]


def test_statistics_are_those_of_all_frames_together():
    data = clips(1, 7, 400, 3)
    frames = torch.cat([clip["latents"] for clip in data]).double()
    found = latent_statistics(iter(data))
    torch.testing.assert_close(found.mean, frames.mean(dim=0), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.std, frames.std(dim=0, correction=0), rtol=1e-9, atol=0)


def test_a_channel_that_never_varies_is_refused():
    data = clips(20, 30)
    for clip in data:
        clip["latents"][:, 3] = 12345.678
    with pytest.raises(UserError, match="never varies"):
        latent_statistics(data)
    with pytest.raises(UserError, match="never varies"):
        latent_statistics([])


def test_initialisation_is_a_function_of_the_seed_and_of_nothing_in_the_base(fresh_adapter):
    lm = fresh_adapter.flow_lm
    first = {name: tensor.clone() for name, tensor in lm.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.normal_(generator=make_rng(1, "noise"))
    initialize_flow_lm(lm, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in lm.state_dict().items():
        assert torch.equal(tensor, first[name]), name
    initialize_flow_lm(lm, seed=1)
    assert not torch.equal(lm.conditioner.embed.weight, first["conditioner.embed.weight"])


def test_a_fresh_head_is_the_zero_velocity(fresh_adapter, three_examples):
    """Its flow residual is the mean square of x1 - x0 and its LSD residual is zero."""
    batch = fresh_adapter.collate(three_examples(fresh_adapter))
    lm = fresh_adapter.flow_lm
    x, times = torch.randn(5, lm.ldim), torch.rand(2, 5, 1)
    assert not lm.flow_net(torch.randn(5, lm.dim), *times, x).any()
    values = fresh_adapter.residuals(batch, seed=0).values
    assert float(values["lsd"].abs().max()) == 0
    assert 1.0 < float(values["flow"].mean()) < 3.0  # E (x1 - x0)^2 = 2 for standard normal latents


def test_training_moves_everything_but_the_codec(fresh_adapter, three_examples):
    """The head's output and modulations start at zero and hold back gradients: three steps reach all."""
    Full().apply(fresh_adapter, lr=1e-3)
    before = {name: p.detach().clone() for name, p in fresh_adapter.named_parameters()}
    optimizer = torch.optim.SGD([p for p in fresh_adapter.parameters() if p.requires_grad], lr=0.5)
    batch = fresh_adapter.collate(three_examples(fresh_adapter))
    for step in range(3):
        optimizer.zero_grad()
        fresh_adapter.loss(batch, make_rng(step, "loss")).total.backward()
        optimizer.step()
    for name, parameter in fresh_adapter.named_parameters():
        assert torch.equal(parameter, before[name]) is name.startswith("mimi."), name


def test_fitted_statistics_normalise_the_data_and_are_part_of_the_state(fresh_adapter, three_examples):
    examples = three_examples(fresh_adapter)
    fresh_adapter.fit_statistics(example.target.features() for example in examples)
    frames = torch.cat([example.target.features()["latents"] for example in examples])
    strategy = Full()
    strategy.apply(fresh_adapter, lr=1e-3)
    state = strategy.trainable_state(fresh_adapter)
    torch.testing.assert_close(state["flow_lm.emb_mean"], frames.mean(dim=0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state["flow_lm.emb_std"], frames.std(dim=0, correction=0), rtol=1e-5, atol=1e-6)
    batch = fresh_adapter.collate(examples)
    x1 = fresh_adapter.hidden(batch).x1[batch.frame_mask]
    assert float(x1.mean(dim=0).abs().max()) < 1e-5


def test_a_pretrained_model_keeps_its_own_statistics(nano_adapter):
    assert not isinstance(nano_adapter, FitsStatistics)
    strategy = Full()
    strategy.apply(nano_adapter, lr=1e-3)
    assert not {"flow_lm.emb_mean", "flow_lm.emb_std"} & strategy.trainable_state(nano_adapter).keys()
